"""What `WHENCE_REDACT` keeps out of the log."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import SECRET, Served, event
from tests.unit.mutants import catches, replaced
from whence.api.admission import Admission
from whence.fairness import FairQueue
from whence.payload_masking import PayloadMask
from whence.permissions import READ, WRITE
from whence.settings import Settings
from whence.storage import create_store

ID = "01941f29-0000-7000-8000-000000000201"


@pytest.fixture(scope="module")
def masking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that masks two paths."""
    folder: Path = tmp_path_factory.mktemp("masking")
    settings = Settings(store=f"sqlite:///{folder}/log.db", port=0, redact=("card.number", "geheim\u00e4"))
    served = Served(settings, create_store(settings.store), SECRET)
    served.start()
    yield served
    served.stop()


def test_masked_values_are_neither_stored_nor_answered(masking: Served) -> None:
    """The answer names the paths, also of a replay and in a batch; an event without such values is as ever. The text
    is nowhere in the files of the store."""
    word = "4111111111111111"
    payload = {"card": [{"number": word}], "geheim\u00e4": 1, "kept": 2}
    stored = {"card": [{"number": "[redacted]"}], "geheim\u00e4": "[redacted]", "kept": 2}
    with masking.client(READ, WRITE) as client:
        for status in (201, 200):
            answer = client.post("/api/v1/events", json=event(id=ID, payload=payload))
            assert (answer.status_code, answer.json()["payload"]) == (status, stored)
            assert answer.headers["whence-redacted"] == "card.number, geheim%C3%A4"
        plain = client.post("/api/v1/events", json=event(payload={"number": word[:4]}))
        assert "whence-redacted" not in plain.headers
        sent = [event(payload={"kept": 1}), event(payload={"card": {"number": word}}), {"bad": 1}]
        results = client.post("/api/v1/events/batch", json=sent).json()["results"]
        assert [each.get("redacted") for each in results] == [None, ["card.number"], None]
        found = [each["payload"] for each in client.get("/api/v1/events").json()["events"]]
        assert len(found) == 4
        assert stored in found
        assert {"card": {"number": "[redacted]"}} in found
    folder = Path(masking.settings.store.removeprefix("sqlite:///")).parent
    assert not any(word.encode() in file.read_bytes() for file in folder.iterdir() if file.is_file())


def test_a_payload_that_masking_makes_too_large_is_refused(masking: Served) -> None:
    """Instead of stored beyond the limit."""
    large = {"card": [{"number": 1}] * 15_000}
    with masking.client(READ, WRITE) as client:
        assert client.post("/api/v1/events", json=event(payload=large)).status_code == 413
        (result,) = client.post("/api/v1/events/batch", json=[event(payload=large)]).json()["results"]
        assert result["status"] == 413


async def at_once(self: Admission, tenant: str, items: Iterable[Any]) -> list[Any]:
    """Mutant: a whole batch without a pause."""
    return list(items)


@catches(replaced(Admission, "in_slices", at_once, "without_a_pause"))
def test_a_batch_is_masked_in_slices(masking: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are served between two events: an event of 256 KiB takes some 60 ms."""
    rounds: list[int] = []
    passed, pass_turn = 0, FairQueue.pass_turn

    async def counted(self: FairQueue, tenant: str) -> None:
        nonlocal passed
        passed += 1
        await pass_turn(self, tenant)

    def slowly(self: PayloadMask, payload: bytes) -> tuple[bytes, tuple[str, ...]]:
        time.sleep(0.003)
        rounds.append(passed)
        return payload, ()

    monkeypatch.setattr(FairQueue, "pass_turn", counted)
    monkeypatch.setattr(PayloadMask, "apply", slowly)
    with masking.client(WRITE) as client:
        assert client.post("/api/v1/events/batch", json=[event() for _ in range(5)]).status_code == 201
    assert rounds == [0, 1, 2, 3, 4]
