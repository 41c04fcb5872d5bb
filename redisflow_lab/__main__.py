"""`python -m redisflow_lab` runs the command `redisflow`."""

from redisflow_lab.cli import main

main()
