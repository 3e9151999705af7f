"""For any input, the server answers in its own shapes, stores only valid events, and keeps answering."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.hostile import Target
from tests.acceptance.hostile_corpus import ALL
from tests.acceptance.running import Running, running, tell
from tests.databases import fresh_database

DEFAULT_HANDLERS = """
import json, socket, uuid
import uvicorn
from litestar import Litestar, Request, Response, get, post
from litestar.exceptions import HTTPException

events = {}

@post("/api/v1/events")
async def create(request: Request) -> Response:
    event = json.loads(await request.body())
    event["id"] = str(uuid.uuid4())
    events[event["id"]] = json.dumps(event)
    return Response(events[event["id"]], media_type="application/json",
                    headers={"Location": "/api/v1/events/" + event["id"]})

@get("/api/v1/events")
async def listed(limit: int = 100, offset: int = 0) -> dict:
    return {"total": len(events)}

@get("/api/v1/events/aggregate")
async def aggregate() -> dict:
    return {"total": len(events)}

@get("/api/v1/events/{event_id:uuid}")
async def one(event_id: uuid.UUID) -> Response:
    return Response(events[str(event_id)], media_type="application/json")

def error(request: Request, error: HTTPException) -> Response:
    shape = {"detail": "No.", "code": "no", "requestId": "1"}
    if error.status_code == 422:
        shape = {"detail": [{"loc": [], "msg": "No.", "type": "no"}]}
    return Response(shape, status_code=error.status_code, headers={"X-Request-Id": "1"})

app = Litestar([create, listed, aggregate, one], exception_handlers={HTTPException: error})
listener = socket.create_server(("127.0.0.1", 0))
print("Serving a list at http://127.0.0.1:%d" % listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="critical")).run([listener])
"""
"""Mutant: a framework's default handling, except for the error shape: the body is parsed by json.loads and stored."""

MUTANT_FAILURES_MIN = 200


def tried(server: Running, patience_s: float = 8.0) -> dict[str, str]:
    """The failures over the whole corpus."""
    return Target(server.address, server.key(), patience_s).failures(ALL)


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_every_hostile_request_is_answered_in_its_class(
    store: str, record_property: Callable[[str, object], None]
) -> None:
    """On each store, unusual valid requests are stored and read back. All others get a 4xx in Whence's error shape that
    repeats no input. The list answers after each case, and has no refused event."""
    with running(url=asyncio.run(fresh_database()) if store == "postgres" else None) as server:
        server.start()
        failures = tried(server)
        tell(
            record_property,
            f"{store}: cases={len(ALL)} {dict(Counter(case.expect for case in ALL))} failures={len(failures)}",
        )
        assert not failures, "\n".join(f"{name} → {wrong}" for name, wrong in failures.items())
        said = server.log_text()
        assert "unexpected error" not in said and "Traceback" not in said, said[-3000:]
        assert server.terminate()[0] == 0


def test_the_default_handlers_of_a_framework_would_fail(tmp_path: Path) -> None:
    """A server that parses the body with json.loads and keeps it fails hundreds of the same cases."""
    mutant = tmp_path / "default_handlers.py"
    mutant.write_text(DEFAULT_HANDLERS)
    with running(mutant=mutant) as server:
        server.start()
        failures = tried(server, patience_s=0.5)
        print(f"mutant: cases={len(ALL)} failures={len(failures)}")
        assert len(failures) >= MUTANT_FAILURES_MIN
        for name in ("payload: NaN", "payload: a key twice", "framing: an endless trailer", "query refused 0: limit=0"):
            assert name in failures
        assert "payload: empty" not in failures, "the mutant has to be able to store at all"
