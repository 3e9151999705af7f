"""`python -m whence` is the command line."""

import sys

from whence.cli import main

__all__: list[str] = []

sys.exit(main())
