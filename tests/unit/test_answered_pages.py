"""The answers that are kept take no more memory than they may, also where the questions are longer than the answers."""

from tests.unit.mutants import catches, replaced
from whence.api import answered_pages
from whence.api.answered_pages import AnsweredPages, Asked
from whence.api.responses import JsonResponse
from whence.events import Page, Viewer

BYTES_MAX = 16 * 1024 * 1024
LONGEST = 30_000
"""About the longest query string that the head of a request has room for."""


def of_the_answer_alone(_asked: Asked, answer: JsonResponse) -> int:
    """Mutant: questions take no memory."""
    return len(answer.body) * 3


@catches(replaced(answered_pages, "_bytes_taken", of_the_answer_alone, "questions_weigh_nothing"))
def test_long_questions_with_short_answers_fit() -> None:
    """A client chooses how long a question is, and each empty pair of a query string makes another one of it."""
    pages, viewer, page = AnsweredPages(), Viewer("acme"), Page(events=[], total=0, limit=100, offset=0, as_of=0)
    questions = [("/api/v1/events", b"&" * length) for length in range(LONGEST, LONGEST + 1_000)]
    for asked in questions:
        pages.add(viewer, page, asked, 0, JsonResponse(b"{}"), holds_for=(1, 0, 0))
    kept = [len(query) for path, query in questions if pages.last(viewer, (path, query)) is not None]
    assert kept
    assert sum(kept) <= BYTES_MAX
