"""How many examples the tests by hypothesis try."""

import os

__all__ = ["examples"]

_IS_QUICK = os.environ.get("WHENCE_TEST_QUICK") == "1"


def examples(count: int) -> int:
    """This many, and a quarter of them in `make test`, which sets WHENCE_TEST_QUICK."""
    return max(count // 4, 10) if _IS_QUICK else count
