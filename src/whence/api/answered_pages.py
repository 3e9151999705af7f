"""The answers that were made of pages lately, for those who ask the same again."""

from whence.api.responses import JsonResponse
from whence.events import LogState, Page, Viewer
from whence.recent import RecentlyUsed

__all__ = ["AnsweredPages", "Asked"]

_BYTES_MAX = 16 * 1024 * 1024
_COPIES = 3
"""How often an answer is counted: its bytes, the events that they were made of, and compressed forms. As often its
question, which the link to the next page repeats."""

_ENTRY_BYTES = 1_024
"""About what an entry takes besides."""

Asked = tuple[str, bytes]
"""The path and the query string of a request, as it was sent."""


class AnsweredPages:
    """The last answer to each question of each viewer, with its page. With the first page after a removal everything is
    forgotten."""

    def __init__(self) -> None:
        self._answers: RecentlyUsed[tuple[Viewer, Asked], tuple[Page, LogState | None, int, JsonResponse]]
        self._answers = RecentlyUsed(_BYTES_MAX)
        self._epochs: dict[str, int] = {}

    def find(self, viewer: Viewer, page: Page, asked: Asked) -> tuple[int, JsonResponse] | None:
        """The size of the page, as it was given, and its answer; None if the last answer was made of another page."""
        if page.removal_epoch and self._epochs.get(viewer.tenant, 0) < page.removal_epoch:
            self._epochs[viewer.tenant] = page.removal_epoch
            self._answers.clear()
        known = self._answers.get((viewer, asked))
        return None if known is None or known[0] is not page else known[2:]

    def last(self, viewer: Viewer, asked: Asked) -> tuple[LogState, JsonResponse] | None:
        """The last answer, and the state of the log for which it holds, if it holds for one."""
        known = self._answers.get((viewer, asked))
        return None if known is None or known[1] is None else (known[1], known[3])

    def add(
        self, viewer: Viewer, page: Page, asked: Asked, size: int, answer: JsonResponse, *, holds_for: LogState | None
    ) -> None:
        """Keep the answer that was made of a page of this size. As long as the log is in the state `holds_for`, it is
        the answer to the same question."""
        answer.forms = {}
        self._answers.put((viewer, asked), (page, holds_for, size, answer), _bytes_taken(asked, answer))


def _bytes_taken(asked: Asked, answer: JsonResponse) -> int:
    """About what an answer takes in memory, with its question, which may be much longer."""
    path, query_string = asked
    return _ENTRY_BYTES + (len(path) + len(query_string) + len(answer.body)) * _COPIES
