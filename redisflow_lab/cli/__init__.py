"""The command `redisflow`: copies the course, shows a class's progress, checks a machine.

app        the commands and their options
course     copies the chapters to a folder
classroom  the progress of a class, as a table
doctor     says what this machine has and what is missing; runs without anything installed
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
