"""The folder in which a learner works.

- `copies`           copies of the chapters without outputs, never overwritten once changed
- `consumer.py.txt`  what the learner's own consumer begins with
"""
