"""Runs the command line: `python -m whence`."""

import sys

from whence.cli import main

__all__: list[str] = []

sys.exit(main())
