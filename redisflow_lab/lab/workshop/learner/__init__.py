"""The folder in which a learner works.

- `copies`           copies of the chapters without outputs, never overwritten once changed
- `consumer.py.txt`  the first version of the learner's own consumer
"""
