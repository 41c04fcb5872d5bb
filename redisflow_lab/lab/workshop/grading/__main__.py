"""Grades the consumer.py of the current folder, or another program.

python -m redisflow_lab.lab.workshop.grading [--stage N] [COMMAND ...]
"""

import argparse
import sys
from pathlib import Path

from redisflow_lab.lab.workshop.grading.grader import grade
from redisflow_lab.lab.workshop.grading.stages import STAGES
from redisflow_lab.lab.workshop.progress import Progress

parser = argparse.ArgumentParser(prog="grading")
parser.add_argument("--stage", type=int, choices=[stage.number for stage in STAGES])
parser.add_argument("command", nargs=argparse.REMAINDER)
options = parser.parse_args()
stages = STAGES if options.stage is None else (STAGES[options.stage - 1],)
passed = grade(options.command or None, Path.cwd(), Progress.here(), stages=stages)
sys.exit(0 if passed else 1)
