"""The tests parse Python, and so do pytest and hypothesis; no finalizer may run meanwhile."""

import ast
import gc
import sys

import pytest

from tests.ast_parsing import STANDARD_PARSE
from tests.unit.mutants import catches, replaced

TEXT = "found = [" + ", ".join(f"f({number})" for number in range(1_000)) + "]"


class Cycle:
    """Only the collector can free it. The finalizer notes whether that happened inside of `ast.parse`."""

    def __init__(self, interrupted: list[bool]) -> None:
        self.itself = self
        self.interrupted = interrupted

    def __del__(self) -> None:
        frame = sys._getframe()
        codes = set()
        while frame := frame.f_back:  # type: ignore[assignment]  # None ends the loop
            codes.add(frame.f_code)
        self.interrupted.append(STANDARD_PARSE.__code__ in codes)  # type: ignore[attr-defined]  # a function has code


@catches(replaced(ast, "parse", STANDARD_PARSE, "the_collector_may_run"))
def test_no_finalizer_runs_while_a_tree_is_built(request: pytest.FixtureRequest) -> None:
    """Although the tree has more objects than the collector waits for. It runs afterwards."""
    threshold = gc.get_threshold()
    request.addfinalizer(lambda: gc.set_threshold(*threshold))
    interrupted: list[bool] = []
    gc.collect()
    gc.set_threshold(200)
    Cycle(interrupted)
    ast.parse(TEXT)
    assert gc.isenabled()
    gc.collect()
    assert interrupted == [False]
