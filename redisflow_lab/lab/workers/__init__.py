"""Code of the notebook in processes of its own, which can be killed.

- `worker`          a consumer in a process: the notebook's handle
- `worker_process`  a consumer in a process: the code that runs there
- `process`         any function of the notebook in a process
- `pickling`        carries functions from the notebook into a process
- `starters`        two ways to start a process: anew, or forked from a template
- `template`        the process that forks
- `job`             what every started process does first
"""
