"""Grades a consumer that the learner wrote, in any language, by real crashes.

- `grader`   runs the stages one after the other, and says what it saw
- `stages`   the nine stages, in the order in which they are taught
- `arena`    what a stage works with: a server, fresh keys, programs, and waiting
- `program`  the learner's program as a process, with all that it starts
- `proxy`    sees each command on its way to the server, and may kill instead
"""
