"""python -m redisflow_lab is the command redisflow."""

from redisflow_lab.cli import main

main()
