"""The console says of an event what the commands say: its tests hold it to the sentences in this file."""

import msgspec

from tests.unit.mutants import catches, replaced
from tests.unit.sentence_cases import FILE, Case, written
from whence import sentences


@catches(replaced(sentences, "_joined", lambda leaves: "", "no_detail"))
def test_the_cases_of_the_console_are_those_of_the_code() -> None:
    """`python -m tests.unit.sentence_cases` writes them anew; then `npm test` says what the console lacks."""
    assert written() == FILE.read_text(encoding="utf-8")


def test_the_cases_cover_every_event_type_of_both_recordings() -> None:
    types = {case.event_type for case in msgspec.json.decode(FILE.read_bytes(), type=_File).cases}
    assert len(types) > 40 and {"action_run.failed", "automation_run.started", "chat_thread.message_sent"} < types


class _File(msgspec.Struct):
    cases: list[Case]
