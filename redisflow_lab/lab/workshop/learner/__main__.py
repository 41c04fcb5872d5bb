"""Creates or updates the learner's folder.

python -m redisflow_lab.lab.workshop.learner CHAPTERS WORK [--reset CHAPTER]
"""

import argparse
import sys
from pathlib import Path

from redisflow_lab.lab.workshop.learner.copies import Copies

parser = argparse.ArgumentParser()
parser.add_argument("chapters", type=Path)
parser.add_argument("work", type=Path)
parser.add_argument("--reset", metavar="CHAPTER")
options = parser.parse_args()
copies = Copies(options.chapters, options.work)
try:
    if options.reset is None:
        print(*copies.update(), sep="\n", end="")
    else:
        print(copies.reset(options.reset))
except ValueError as error:
    sys.exit(str(error))
except OSError as error:
    sys.exit(f"The folder {options.work} cannot be used: {error}. Move it away, and try again.")
