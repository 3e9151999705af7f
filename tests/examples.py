"""How much the tests try: their long forms, and how many examples those by hypothesis."""

import os

__all__ = ["examples", "soak"]

_IS_QUICK = os.environ.get("WHENCE_TEST_QUICK") == "1"


def examples(count: int) -> int:
    """This many, and a quarter of them in `make test`, which sets WHENCE_TEST_QUICK."""
    return max(count // 4, 10) if _IS_QUICK else count


def soak() -> bool:
    """Whether the long forms of the tests are requested."""
    return os.environ.get("WHENCE_SOAK") == "1"
