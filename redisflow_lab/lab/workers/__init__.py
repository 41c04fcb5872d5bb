"""Runs functions of the notebook in their own processes, which can be killed.

- `worker`          a consumer in a process: the notebook's handle
- `worker_process`  a consumer in a process: the code that runs there
- `process`         any function of the notebook in a process
- `pickling`        carries functions from the notebook into a process
- `starters`        two ways to start a process: a new Python, or a fork of a template
- `template`        the process that is forked
- `job`             what every started process does first
"""
