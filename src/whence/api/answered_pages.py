"""The answers that were made of pages lately, for pages that the store returns again."""

from whence.api.responses import JsonResponse
from whence.events import Page
from whence.recent import RecentlyUsed

__all__ = ["AnsweredPages"]

_BYTES_MAX = 16 * 1024 * 1024
_COPIES = 3
"""How often an answer is counted: its bytes, the events that they were made of, and compressed forms."""

Asked = tuple[str, bytes]
"""The path and the query string of a request, as it was sent."""


class AnsweredPages:
    """Answers by the identity of their page, and by what was asked. Each holds its page, so no other can have the same
    identity. With the first page after a removal everything is forgotten."""

    def __init__(self) -> None:
        self._answers: RecentlyUsed[tuple[int, Asked], tuple[Page, int, JsonResponse]] = RecentlyUsed(_BYTES_MAX)
        self._epochs: dict[str, int] = {}

    def find(self, tenant: str, page: Page, asked: Asked) -> tuple[int, JsonResponse] | None:
        """The size of the page, as it was given, and its answer; None if there is none yet."""
        if page.removal_epoch and self._epochs.get(tenant, 0) < page.removal_epoch:
            self._epochs[tenant] = page.removal_epoch
            self._answers.clear()
        known = self._answers.get((id(page), asked))
        return None if known is None else known[1:]

    def add(self, page: Page, asked: Asked, size: int, answer: JsonResponse) -> None:
        """Keep the answer that was made of a page of this size."""
        answer.forms = {}
        self._answers.put((id(page), asked), (page, size, answer), len(answer.body) * _COPIES)
