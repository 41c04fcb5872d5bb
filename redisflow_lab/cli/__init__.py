"""The command `redisflow`: copies the course, operates streams, checks a machine.

app           the commands and their options
streams, partitions, entries, watch, exporter, dead_letters, retention,
              groups
              operate streams
server, output, asking, durations
              what these commands share
course        copies the chapters to a folder
classroom     the progress of a class, as a table
doctor        says what this machine has and what is missing; needs nothing installed
"""

import sys


def main() -> None:
    """Run the command. Says what to install if the package was installed without its extra."""
    try:
        from redisflow_lab.cli.app import app
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        sys.exit("The command redisflow needs typer: pip install 'redisflow-lab[cli]'")
    app()
