"""Grades a consumer that the learner wrote, in any language, with real crashes.

- `grader`   runs the stages in order, and prints what is wrong
- `stages`   the nine stages, in the order in which they are taught
- `arena`    what a stage works with: a server, fresh keys, programs, and waiting
- `program`  the learner's program as a process, with all that it starts
- `proxy`    sees each command before the server does, and may change or drop it
"""
