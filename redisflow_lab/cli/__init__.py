"""The command `redisflow`: the course in a folder, a class, streams, and what a machine lacks.

app           the commands and their options
streams, entries, watch, exporter, dead_letters, retention
              operate streams
server, output, asking, durations
              what these commands share
course        lays the chapters into a folder
classroom     the table of a class
doctor        says what this machine has and what is missing; needs nothing installed
"""

import sys


def main() -> None:
    """Run the command. Says what to install if it was installed without its extra."""
    try:
        from redisflow_lab.cli.app import app
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        sys.exit("The command redisflow needs typer: pip install 'redisflow-lab[cli]'")
    app()
