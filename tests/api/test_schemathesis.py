"""schemathesis, all of its checks, against the running server: document and answers agree."""

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.conftest import Served, event, serving
from tests.api.credentials import SECRET, jwt_of
from tests.api.schemathesis_rules import BEYOND
from whence.permissions import ADMIN, READ, WRITE

pytestmark = pytest.mark.slow

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
LONG = os.environ.get("WHENCE_HYPOTHESIS") == "long"
EXAMPLES = 500 if LONG else 8
TAKEN = ["2xx", "3xx", "401", "403", "404", "409", "429", "5xx"]
"""The answers by which schemathesis takes a good request for taken, before ours are added."""
REFUSED = ["400", "401", "403", "404", "405", "406", "409", "415", "422", "428", "429", "5xx"]
"""Those by which it takes a bad one for refused."""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with some events, which never throttles. It knows the resource type of events about the log itself."""
    with serving(
        tmp_path_factory.mktemp("st"), jwt_secret=SECRET, bad_credentials_per_minute=10**9, record=("retention",)
    ) as running:
        with running.client(READ, WRITE) as client:
            assert client.post("/api/v1/events/batch", json=[event() for _ in range(5)]).status_code == 201
        yield running


@pytest.fixture(scope="module")
def document(busy: Served) -> Json:
    """The served document, in which no answer may hold a key that it does not tell of. To clients it leaves that
    open, so that they bear with keys to come."""
    served: Json = httpx2.get(f"{busy.url}/openapi.json").json()
    for schema in served["components"]["schemas"].values():
        if schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
    del served["paths"]["/api/v1/events/stream"]  # which never ends
    for name in ("NewWebhook", "WebhookChange"):  # made-up hosts would be called with every event of the run
        schema = served["components"]["schemas"][name]
        schema["properties"]["enabled"] = {"const": False}
        schema["required"] = [*schema.get("required", ()), "enabled"]
    [wait] = [one for one in served["paths"]["/api/v1/events/feed"]["get"]["parameters"] if one["name"] == "wait"]
    wait["schema"] = {"type": "integer", "enum": [0]}
    return served


def configuration(served: Served, folder: Path) -> Path:
    """The configuration. Each exception is for one route, and its reason stands in `schemathesis_rules`."""
    lines = ['hooks = "tests.api.schemathesis_rules"', "[checks.only_rules_beyond_the_schema]", "enabled = true"]
    lines += ["[cache]", "enabled = false"]  # a run knows nothing of the one before
    # A query may have 2,000 characters of four bytes, which percent-encoded are more than the head of a request may be.
    # What violates a schema may also be larger than a body may be.
    lines += ["[checks.negative_data_rejection]", f"expected-statuses = {json.dumps([*REFUSED, '413', '431'])}"]
    for method, path in BEYOND:
        if path == "/api/v1/tenants":
            continue  # below, with its own credential
        lines += [
            "[[operations]]",
            f"include-name = {json.dumps(f'{method} {path}')}",
            "[operations.checks.positive_data_acceptance]",
            f"expected-statuses = {json.dumps([*TAKEN, '422'])}",
        ]
        if path.startswith("/api/v1/events") and method == "POST":
            # Of a batch with a bad event the good ones are stored, and 207 says so of each.
            lines += ["[operations.checks.negative_data_rejection]"]
            lines += [f"expected-statuses = {json.dumps([*REFUSED, '413', '431', '207'])}"]
    # Only a key makes a session; it is another tenant's, so that no request revokes it.
    bearer = f"Bearer {served.key(READ, tenant='browser')}"
    lines += ["[[operations]]", 'include-name = "POST /api/v1/session"', "[operations.headers]"]
    lines += [f"Authorization = {json.dumps(bearer)}"]
    operator = f"Bearer {served.operator_key(READ, WRITE, ADMIN)}"
    for name in ("GET /api/v1/tenants", "POST /api/v1/tenants/{tenant}/token"):
        lines += ["[[operations]]", f"include-name = {json.dumps(name)}"]
        if name == "GET /api/v1/tenants":
            lines += ["[operations.checks.positive_data_acceptance]"]
            lines += [f"expected-statuses = {json.dumps([*TAKEN, '422'])}"]
        lines += ["[operations.headers]", f"Authorization = {json.dumps(operator)}"]
    file = folder / "schemathesis.toml"
    file.write_text("\n".join(lines))
    return file


def run(served: Served, folder: Path, document: Json, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run schemathesis with a token that may do all; a key could be revoked by one of its own requests."""
    file = folder / "openapi.json"
    file.write_text(json.dumps(document))
    token = jwt_of(scope="events:read events:write admin", exp=int(time.time()) + 3600)
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration(served, folder))),
        *("run", str(file), "--url", served.url, "--header", f"Authorization: Bearer {token}"),
        *("--checks", "all", "--no-color", "--warnings", "off", *arguments),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600, check=False)


def test_document_and_answers_agree(busy: Served, document: Json, tmp_path: Path) -> None:
    """Every response to schemathesis is one that the document describes."""
    seed = [] if LONG else ["--seed", "1"]  # it is printed either way
    done = run(busy, tmp_path, document, "--max-examples", str(EXAMPLES), *seed)
    assert done.returncode == 0, done.stdout[-200_000:] + done.stderr[-2_000:]
    with busy.client(READ) as client:
        assert client.get("/readyz").status_code == 200
        assert client.get("/api/v1/events").status_code == 200


def without_a_property(document: Json) -> None:
    event_schema = document["components"]["schemas"]["Event"]
    del event_schema["properties"]["correlationId"]
    event_schema["required"].remove("correlationId")


def without_a_status(document: Json) -> None:
    # The answer to a limit beyond the range, which every run asks for; a random id need not be a well-formed one.
    del document["paths"]["/api/v1/events"]["get"]["responses"]["422"]


def with_another_type(document: Json) -> None:
    document["components"]["schemas"]["EventPage"]["properties"]["total"] = {"type": "string"}


def with_a_looser_body(document: Json) -> None:
    document["components"]["schemas"]["NewEvent"]["properties"]["actorId"] = {"type": "string"}
    for content in document["paths"]["/api/v1/events"]["post"]["requestBody"]["content"].values():
        del content["example"]  # else nearly every body has the actor of the example


MUTANTS: dict[Callable[[Json], None], tuple[str, str]] = {
    without_a_property: ("GET /api/v1/events", "Response violates schema"),
    without_a_status: ("GET /api/v1/events", "Undocumented status code"),
    with_another_type: ("GET /api/v1/events", "Response violates schema"),
    with_a_looser_body: ("POST /api/v1/events", "only_rules_beyond_the_schema"),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_document_that_is_wrong_is_found(
    busy: Served, document: Json, tmp_path: Path, mutant: Callable[[Json], None]
) -> None:
    """A document that leaves something out, or is wrong, fails the same run."""
    wrong = copy.deepcopy(document)
    mutant(wrong)
    operation, finding = MUTANTS[mutant]
    more = (
        *("--include-name", operation, "--phases", "coverage,fuzzing", "--no-shrink"),
        *("--max-examples", "40"),
        *(() if LONG else ("--seed", "1")),
    )
    done = run(busy, tmp_path, wrong, *more)
    assert done.returncode == 1, done.stdout[-5_000:] + done.stderr[-2_000:]
    assert finding in done.stdout, done.stdout[-5_000:]
