"""`edged run`, with what it is slow to load already loaded.  It begins when a line comes, another one each time."""

import random
import sys

from edged import cli, daemon, overview
from edged.cli import run
from edged.config.reader import find, read
from edged.monitoring import control, queues
from tests.lab.inside.line import say

LOADED = (cli, control, daemon, overview, queues, run)  # what a command loads when it is called

if __name__ == "__main__":
    read(find(None))  # its drivers and platforms
    say(ready="daemon")
    random.seed(sys.stdin.readline())  # else all restored guests would draw the same numbers
    sys.exit(cli.main(["run"]))
