"""The served document fulfils the contract, and the server fulfils the document."""

import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.api.conftest import Served
from tests.unit.mutants import catches, replaced
from whence.api import console, examples, openapi
from whence.api.app import create_app, route_handlers
from whence.api.openapi import build_openapi
from whence.permissions import ADMIN, READ, WRITE
from whence.settings import Settings
from whence.storage import create_store
from whence.storage.seals import Origin

Json = dict[str, Any]

CONTRACT_FILE = Path(__file__).parent / "events-api.openapi.json"
CONTRACT_SHA256 = "68b39df48887b58aba8dcaee9da8d5caa319789fd2e55b451930b9c27f37d42b"
"""The hash of the contract as it was given. It is never changed here."""

UNDOCUMENTED = {
    "/docs/scalar.js": "a part of the page /docs, not of the API",
    "/whence-verify.html": "a page for people",
} | dict.fromkeys(
    (re.sub(r":\w+}", "}", path) for path in (*console.PATHS, "/assets/{name:str}")), "for browsers: the console"
)
"""Addresses that the document leaves out, and why."""

FILE_OF_THE_CONSOLE = re.compile(r"/[a-z-]+\.(ico|png|svg|txt)")
"""What a built console has beside its page."""

OPEN_ROUTES = {"/api/v1/session/redeem": "the code is its credential"}
"""Routes of the API that take no credential, and why."""

IMPLIED_METHODS = {"HEAD", "OPTIONS"}
"""HTTP gives these to every address that takes GET, or anything at all; the document need not."""


@pytest.fixture(scope="module")
def contract() -> Json:
    read: Json = json.loads(CONTRACT_FILE.read_bytes())
    return read


@pytest.fixture(scope="module")
def document(served: Served) -> Json:
    """The document as the server gives it."""
    with served.client() as nobody:
        answer = nobody.get("/openapi.json")
    assert answer.status_code == 200
    read: Json = answer.json()
    return read


# The comparison: the document must contain everything that the contract says, word for word.


def resolved(document: Json, node: Any) -> Any:
    """The node that a $ref leads to, with what stands beside the $ref."""
    while isinstance(node, dict) and "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


WORDS = frozenset(("description", "title", "examples"))
"""Keys of a schema that explain and decide nothing."""


def full(document: Json, node: Any) -> Any:
    """The schema with every $ref put in place and without what only explains."""
    node = resolved(document, node)
    if isinstance(node, dict):
        return {key: full(document, value) for key, value in node.items() if key not in WORDS}
    return [full(document, value) for value in node] if isinstance(node, list) else node


def differences(contract: Json, document: Json) -> list[str]:
    """What of the contract the document does not hold."""
    found: list[str] = []
    for path, methods in contract["paths"].items():
        for method, operation in methods.items():
            there = document["paths"].get(path, {}).get(method)
            place = f"{method} {path}"
            if there is None:
                found.append(f"{place}: missing")
                continue
            found += parameter_differences(place, contract, operation, document, there)
            found += response_differences(place, contract, operation, document, there)
            found += [f"{place}: tag {tag}" for tag in operation["tags"] if tag not in there["tags"]]
    for name, schema in contract["components"]["schemas"].items():
        other = document["components"]["schemas"].get(name)
        if other is None:
            found.append(f"schema {name}: missing")
        else:
            found += schema_differences(f"schema {name}", full(contract, schema), full(document, other))
    return found


def parameter_differences(place: str, contract: Json, operation: Json, document: Json, there: Json) -> list[str]:
    """A parameter is the same in name, place, whether it is required, and schema: default, range, enum and format."""
    found = []
    parameters = {(one["name"], one["in"]): one for one in there["parameters"]}
    for wanted in operation["parameters"]:
        one = parameters.get((wanted["name"], wanted["in"]))
        name = f"{place}: parameter {wanted['name']} in {wanted['in']}"
        if one is None:
            found.append(f"{name}: missing")
            continue
        if one.get("required") != wanted["required"]:
            found.append(f"{name}: required")
        if full(document, one["schema"]) != full(contract, wanted["schema"]):
            found.append(f"{name}: schema")
    wanted_names = {(one["name"], one["in"]) for one in operation["parameters"]}
    found += [
        f"{place}: parameter {name} is required, and the contract does not know it"
        for (name, where), one in parameters.items()
        if one.get("required") and (name, where) not in wanted_names
    ]
    return found


def response_differences(place: str, contract: Json, operation: Json, document: Json, there: Json) -> list[str]:
    """Every status has its content types, each with a schema that holds the contract's."""
    found = []
    for status, answer in operation["responses"].items():
        for media, content in answer["content"].items():
            given = there["responses"].get(status, {}).get("content", {}).get(media)
            name = f"{place}: {status} {media}"
            if given is None:
                found.append(f"{name}: missing")
            else:
                wanted = full(contract, content["schema"])
                found += schema_differences(name, wanted, full(document, given["schema"]))
    return found


NARROWER = frozenset(("enum", "format", "pattern", "minLength", "maxLength"))
"""What the schema of an answer may add: it promises more than the contract asks."""


def schema_differences(place: str, wanted: Any, given: Any) -> list[str]:
    """The schema of an answer holds everything that the contract's says; it may promise more of a value, and its
    objects may have further keys that are not required."""
    if not (isinstance(wanted, dict) and isinstance(given, dict)):
        return [] if wanted == given else [f"{place}: {wanted!r} became {given!r}"]
    found = []
    for key, value in wanted.items():
        if key not in given:
            found.append(f"{place}: no {key}")
        elif key == "properties":
            for name, schema in value.items():
                found += schema_differences(f"{place}.{name}", schema, given[key].get(name))
        elif key == "required":
            found += [f"{place}: {name} is not required" for name in value if name not in given[key]]
            found += [f"{place}: {name} is required too" for name in given[key] if name not in value]
        elif key == "items":
            found += schema_differences(f"{place}[]", value, given[key])
        elif place.endswith(".payload") and given[key] == [value, "null"]:
            continue  # an erased payload is null, which happens only where somebody erases
        elif value != given[key]:
            found.append(f"{place}: {key}")
    added = given.keys() - wanted.keys() - NARROWER - {"properties", "required"}
    return found + [f"{place}: {key} was added" for key in sorted(added)]


def test_the_copy_of_the_contract_is_the_contract() -> None:
    """The file is byte for byte the one that was given."""
    assert hashlib.sha256(CONTRACT_FILE.read_bytes()).hexdigest() == CONTRACT_SHA256


def test_the_document_holds_the_contract(contract: Json, document: Json) -> None:
    """Every path, parameter, default, range, enum, required key and status of the contract is served."""
    assert differences(contract, document) == []


def test_the_contract_holds_itself(contract: Json) -> None:
    """The comparison finds nothing where nothing is different."""
    assert differences(contract, contract) == []


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every key and item of a document that is not only an explanation."""
    items: Any = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        if key not in ("description", "title", "summary", "examples", "info", "openapi"):
            yield (*path, key)
            yield from leaves(value, (*path, key))


def at(document: Json, path: tuple[Any, ...]) -> Any:
    for part in path:
        document = document[part]
    return document


def test_no_part_of_the_contract_can_go_missing(contract: Json) -> None:
    """Each of its parts, taken out of the document, is missed; of those that stand in it by reference alone too."""
    survived = []
    for path in leaves(contract):
        mutant = copy.deepcopy(contract)
        del at(mutant, path[:-1])[path[-1]]
        try:
            if not differences(contract, mutant):
                survived.append(path)
        except (KeyError, AttributeError, TypeError):
            continue  # it cannot even be read any more
    assert survived == []


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value + "x"


def test_no_value_of_the_contract_can_change(contract: Json) -> None:
    """Each default, range, name, type and enum value, changed in the document, is reported."""
    survived = []
    for path in leaves(contract):
        if isinstance(value := at(contract, path), dict | list):
            continue
        mutant = copy.deepcopy(contract)
        at(mutant, path[:-1])[path[-1]] = changed(value)
        try:
            if not differences(contract, mutant):
                survived.append((*path, value))
        except (KeyError, AttributeError, TypeError):
            continue  # a reference that leads nowhere
    assert survived == []


def with_a_stricter_limit(document: Json) -> None:
    next(one for one in parameters_of(document) if one["name"] == "limit")["schema"]["multipleOf"] = 5


def with_a_parameter_more(document: Json) -> None:
    parameters_of(document).append({"name": "x", "in": "query", "required": True, "schema": {"type": "string"}})


def with_a_key_more(document: Json) -> None:
    document["components"]["schemas"]["EventPage"]["required"].append("nextCursor")


def closed(document: Json) -> None:
    document["components"]["schemas"]["Event"]["additionalProperties"] = False


def parameters_of(document: Json) -> list[Json]:
    found: list[Json] = document["paths"]["/api/v1/events"]["get"]["parameters"]
    return found


@pytest.mark.parametrize("mutate", [with_a_stricter_limit, with_a_parameter_more, with_a_key_more, closed])
def test_nothing_may_be_added_that_breaks_a_client(
    contract: Json, document: Json, mutate: Callable[[Json], None]
) -> None:
    """One more rule for a parameter, required parameter or required key is reported."""
    mutant = copy.deepcopy(document)
    mutate(mutant)
    assert len(differences(contract, mutant)) >= 1


# The document and the server.


def served_routes(folder: Path) -> set[tuple[str, str]]:
    """(method, path) of every handler of the application, paths as OpenAPI writes them."""
    settings = Settings(store=f"sqlite:///{folder}/whence.db")
    lane: Any = create_app(settings, create_store(settings.store)).app
    return {
        (method, route.path_format)
        for route in lane.application.routes
        for method in route.methods
        if route.path_format not in UNDOCUMENTED and not FILE_OF_THE_CONSOLE.fullmatch(route.path_format)
    }


def test_routes_and_document_are_the_same(document: Json, tmp_path: Path) -> None:
    """Every route of the application is in the document, and the other way round."""
    documented = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    real = served_routes(tmp_path)
    assert {(method, path) for method, path in real if method not in IMPLIED_METHODS} == documented
    for path, methods in document["paths"].items():
        assert ("OPTIONS", path) in real
        assert (("HEAD", path) in real) == ("get" in methods), path


def test_every_operation_says_who_may_use_it(document: Json) -> None:
    """A route is open by an empty list, or it takes each of the three carriers and documents 401 and 403."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            guarded = operation["security"] == [{"bearer": []}, {"apiKey": []}, {"cookie": []}]
            assert guarded or operation["security"] == [], (method, path)
            is_closed = path.startswith("/api/") and path not in OPEN_ROUTES
            assert guarded == (is_closed or path == "/metrics"), (method, path)
            may_refuse = {"401", "403", "429"} <= operation["responses"].keys()
            assert may_refuse == (guarded or path in OPEN_ROUTES), (method, path)
            carriers = {(one["name"], one["in"]) for one in operation["parameters"]}
            wanted = {("authorization", "header"), ("X-API-Key", "header"), ("vai_token", "cookie")}
            assert (wanted <= carriers) == guarded, (method, path)


def test_every_operation_has_a_name_of_its_own(document: Json) -> None:
    """Client generators name their functions by it."""
    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere(document: Json) -> None:
    """No $ref is dangling, and no component is unused."""
    text = json.dumps(document)
    names = document["components"]["schemas"].keys()
    used = {name for name in names if f'"#/components/schemas/{name}"' in text}
    assert text.count("$ref") == sum(text.count(f'"#/components/schemas/{name}"') for name in names)
    assert used == names


def test_errors_and_their_headers_are_documented(document: Json) -> None:
    """A 422 has the contract's shape, every other error ours; each documents its headers."""
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                assert "X-Request-Id" in answer["headers"]
                assert ("Retry-After" in answer["headers"]) == (status in ("429", "503"))
                assert ("WWW-Authenticate" in answer["headers"]) == (status == "401")
                if int(status) >= 400 and status != "422":
                    content = answer["content"]["application/json"]["schema"]
                    name = "PositionGone" if status == "410" else "Error"
                    assert content == {"$ref": f"#/components/schemas/{name}"}


def test_an_operators_words_are_in_the_document() -> None:
    """Added resource and actor types are part of their enums, and of the scopes that name them."""
    settings = Settings(resource_types=("invoice",), actor_types=("robot",))
    schemas = build_openapi(settings, route_handlers(settings))["components"]["schemas"]
    assert schemas["ResourceType"]["enum"][-1] == "invoice"
    assert schemas["ActorType"]["enum"][-1] == "robot"
    assert "events:read:invoice" in schemas["NewKey"]["properties"]["scopes"]["items"]["enum"]


def with_another(name: str, **fields: Any) -> Json:
    return {name: examples.REQUESTS[name] | fields}


@catches(
    replaced(openapi, "REQUESTS", examples.REQUESTS | with_another("NewEvent", occurredAt="now"), "no_time"),
    replaced(openapi, "REQUESTS", examples.REQUESTS | with_another("CloudEvent", subject="run/7"), "no_resource"),
    replaced(openapi, "REQUESTS", examples.REQUESTS | with_another("NewKey", scopes=["all"]), "no_scope"),
)
def test_every_example_of_a_request_is_accepted(served: Served) -> None:
    """Each media type of each operation that takes a body has one."""
    document = build_openapi(served.settings, route_handlers(served.settings))
    sent = 0
    operator = {"Authorization": f"Bearer {served.operator_key(READ, WRITE)}"}
    served.key(READ, tenant=examples.REQUESTS["ChosenTenant"]["tenantId"])  # the tenant has to be there
    with served.client(READ, WRITE, ADMIN, tenant="examples") as client:
        client.post("/api/v1/events", json=examples.REQUESTS["NewEvent"])
        served.wait(served.store.seals.add_origin("examples", Origin(1, "log.example/examples/1", "key")))
        rule_id = client.post("/api/v1/alert-rules", json=examples.REQUESTS["NewAlertRule"]).json()["id"]
        hook = client.post("/api/v1/webhooks", json={"url": "https://8.8.8.8/", "enabled": False}).json()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                for media, content in operation.get("requestBody", {}).get("content", {}).items():
                    example = content["example"]
                    body = example if isinstance(example, str) else json.dumps(example)
                    if path == "/api/v1/session/redeem":  # of which no code is in advance
                        body = json.dumps({"code": client.post("/api/v1/session/links").json()["code"]})
                    headers = {"Content-Type": media} | (
                        operator if "Operators" in operation["tags"] or path == "/api/v1/session/tenant" else {}
                    )
                    filled = path.replace("{tenant}", "examples").replace("{rule_id}", rule_id)
                    filled = filled.replace("{webhook_id}", hook["id"])
                    answer = client.request(method, filled, content=body, headers=headers)
                    assert answer.status_code in (200, 201, 202), (path, media, answer.text)
                    sent += 1
    assert sent == 24


def changed_example(name: str, **fields: Any) -> dict[str, Json]:
    return examples.RESPONSES | {name: examples.RESPONSES[name] | fields}


@catches(
    replaced(openapi, "RESPONSES", changed_example("Event", actorType=7), "a_field_of_another_kind"),
    replaced(openapi, "RESPONSES", changed_example("Trace", rootKnown=None), "no_root"),
    replaced(openapi, "ERRORS", {key: {"detail": "No."} for key in examples.ERRORS}, "an_error_without_code"),
    replaced(openapi, "RESPONSES", {"Event": examples.RESPONSES["Event"]}, "an_answer_without_example"),
)
def test_every_response_has_a_valid_example(served: Served) -> None:
    """Each JSON response but the document itself; it fits its schema, and has each of its keys that is always sent."""
    document = build_openapi(served.settings, route_handlers(served.settings))
    checked = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                content = response.get("content", {}).get("application/json")
                if content is None or (path == "/openapi.json" and status == "200"):
                    continue
                schema = content["schema"] | {"components": document["components"]}
                assert "example" in content, (method, path, status)
                assert jsonschema_rs.validator_for(schema).is_valid(content["example"]), (method, path, status)
                checked += 1
    assert checked > 150


def test_the_examples_are_what_a_server_answers(served: Served) -> None:
    """The two events of the examples, once stored, are answered as the examples say: pages, counts, graphs and maps."""
    run = examples.RESPONSES
    root, effect = ({key: node[key] for key in node if key in SENT} for node in run["Trace"]["nodes"])
    effect |= {"payload": run["Event"]["payload"]}
    with served.client(READ, WRITE, tenant="acme-of-examples") as client:
        assert client.post("/api/v1/events/batch", json=[root, effect]).json() == {
            "results": [examples.results_of(201)["results"][0], {"id": effect["id"], "index": 1} | LAST]
        }
        for path, name in {
            f"/api/v1/events/{effect['id']}": "Event",
            "/api/v1/events?limit=1": "EventPage",
            "/api/v1/events/feed?after=1": "Feed",
            "/api/v1/events/aggregate": "EventAggregate",
            "/api/v1/events/histogram": "Histogram",
            "/api/v1/events/facets": "Facets",
            "/api/v1/actors?limit=1": "Actors",
            f"/api/v1/resources/action_run/{effect['resourceId']}/summary": "ResourceSummary",
            "/api/v1/actors/agent/planner/summary": "ActorSummary",
            "/api/v1/events/stats/by-actor": "ActorStats",
            f"/api/v1/events/{effect['id']}/trace": "Trace",
            "/api/v1/flows": "FlowPage",
            "/api/v1/flows/map": "ProcessMap",
        }.items():
            text = client.get(path).text.replace("acme-of-examples", "acme")
            found = json.loads(text)
            for pair in found.get("pairs", ()):  # a percentile is within the error that the map names
                for key in ("p50Us", "p95Us"):
                    assert abs(pair[key] - 1_000_000) <= 1_000_000 * found["delayError"]
                    pair[key] = 1_000_000
            assert found == run[name], name


SENT = {
    *["actorId", "actorType", "causationId", "eventType", "id", "occurredAt", "outcome", "resourceId", "resourceType"]
}
LAST = {"position": 2, "status": 201}
