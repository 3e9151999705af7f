"""`tenant list` and `tenant delete`, beside a server that seals."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx2
import msgspec
import pytest

from tests.api.conftest import Served, event, serving
from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli
from whence.permissions import ADMIN, READ, WRITE
from whence.sealing import StoreSecret
from whence.storage.followers import Definition

EVENTS = "/api/v1/events"

AFTERWARDS = Mutant(
    "checkpoint_after_the_deletion",
    """
import whence.cli.tenants as tenants
real = tenants.delete_tenant
async def late(store, tenant, keep, **options):
    done = await real(store, tenant, None, **options)
    keep(b"")
    return done
tenants.delete_tenant = late
""",
)
NOBODY_IS_ASKED = Mutant(
    "deletes_without_a_question", "import whence.cli.tenants as t\nt._agreed = lambda question, tenant, yes: True"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that seals."""
    secret = StoreSecret("the secret of the store that is sealed", is_shared=True)
    with serving(tmp_path_factory.mktemp("sealed"), secret=secret, log_name="log.example", console=False) as running:
        yield running


def store(api: httpx2.Client, count: int) -> None:
    for number in range(count):
        assert api.post(EVENTS, json=event(payload={"n": number})).status_code == 201


def operator(cli: Cli, served: Served) -> Cli:
    """The program of somebody on the server's machine, without a key."""
    return cli.given(url=None, api_key=None, store=served.settings.store)


@catches(AFTERWARDS)
def test_the_final_checkpoint_comes_first(
    cli: Cli, served: Served, api: httpx2.Client, tenant: str, tmp_path: Path
) -> None:
    """It names the whole log. Where it cannot be written, nothing goes. Afterwards the tenant is gone for the server,
    others are there, and a new one of the name has another origin."""
    store(api, 3)
    other = served.client(READ, WRITE, tenant=f"{tenant}-2")
    store(other, 1)
    key = api.get("/api/v1/log/key")
    file, run = tmp_path / "last", operator(cli, served)
    assert "No such file" in run.fails(
        1, "tenant", "delete", tenant, "--checkpoint", "/no/folder/last", "--yes", tenant
    )
    kept = api.get(EVENTS)
    assert kept.status_code == 200  # its key would be gone with the tenant
    assert kept.json()["total"] == 3
    said = run.ok("tenant", "delete", tenant, "--checkpoint", str(file), "--yes", tenant).err
    assert f"Deleted: {tenant} with 3 events and 1 key." in said
    assert file.read_text().splitlines()[:2] == [f"log.example/{tenant}/1", "3"]
    time.sleep(0.2)  # a key is cached for half of this
    assert api.get(EVENTS).status_code == 401
    assert other.get(EVENTS).json()["total"] == 1
    again = served.client(READ, WRITE, tenant=tenant)
    assert again.get(EVENTS).json()["total"] == 0
    store(again, 1)
    until = time.monotonic() + 10
    while (found := again.get("/api/v1/log/key").json()["keys"]) == [] and time.monotonic() < until:
        time.sleep(0.05)
    assert found[0]["key"].startswith(f"log.example/{tenant}/2+")
    assert key.json()["keys"] != found
    other.close()
    again.close()


@catches(NOBODY_IS_ASKED)
def test_nothing_is_deleted_without_its_name(cli: Cli, served: Served, api: httpx2.Client, tenant: str) -> None:
    """The name is asked for, or passed; another one will not do. Nor will a hold."""
    store(api, 1)
    run = operator(cli, served)
    delete = ("tenant", "delete", tenant, "--no-checkpoint")
    assert "Pass --yes" in run.fails(2, *delete)
    assert "another name" in run.fails(2, *delete, "--yes", f"{tenant}x")
    assert "--checkpoint" in run.fails(2, "tenant", "delete", tenant, "--yes", tenant)
    assert "no such tenant" in run.fails(3, "tenant", "delete", "nobody", "--no-checkpoint", "--yes", "nobody")
    with served.client(READ, ADMIN, tenant=tenant) as admin:
        held = admin.post("/api/v1/holds", json={"q": "type:action_run.*", "reason": "a case"})
        assert held.status_code == 201
    assert "legal hold" in run.fails(1, *delete, "--yes", tenant)
    assert api.get(EVENTS).json()["total"] == 1
    run.ok(*delete, "--despite-holds", "--yes", tenant)


ONLY_KEYS = Mutant(
    "a_tenant_is_events_and_keys",
    "import whence.storage.sqlite.deletions as d\n"
    "async def nothing(self, tenant): return False\n"
    "d.SQLiteDeletions.has_anything = nothing",
)


@catches(ONLY_KEYS)
def test_a_tenant_without_events_and_keys_is_deleted(cli: Cli, served: Served) -> None:
    """It has a webhook, which somebody made with a token of an operator."""
    served.wait(served.store.followers.put_definition(Definition("webhooks-only", "webhook", "other", 1, b"{}")))
    delete = ("tenant", "delete", "webhooks-only", "--no-checkpoint", "--yes", "webhooks-only")
    operator(cli, served).ok(*delete)
    assert "no such tenant" in operator(cli, served).fails(3, *delete)


ANY_TENANT = Mutant(
    "any_tenants_events_will_do",
    "import whence.cli.tenant_folder as t\nclass Any(str):\n    def __ne__(self, other): return False\n"
    "real = t.check_folder\nimport msgspec\n"
    "t.check_folder = lambda *a: msgspec.structs.replace(real(*a), tenant_id=Any('x'))",
)


@catches(ANY_TENANT)
def test_a_tenant_is_exported(cli: Cli, served: Served, api: httpx2.Client, tenant: str, tmp_path: Path) -> None:
    """Its events are proven, its settings are there without a secret, and a changed folder is refused."""
    store(api, 3)
    with served.client(READ, ADMIN, tenant=tenant) as admin:
        assert admin.put("/api/v1/retention", json={"maxAgeDays": 900, "rules": []}).status_code == 200
        hooked = admin.post("/api/v1/webhooks", json={"url": "https://hooks.example.com/w"})
        assert hooked.status_code == 201
        until = time.monotonic() + 10
        while "\n3\n" not in admin.get("/api/v1/log/checkpoint").text and time.monotonic() < until:
            time.sleep(0.05)
        key = admin.get("/api/v1/log/key").json()["keys"][-1]["key"]
    run = cli.given(url=served.url, api_key=served.operator_key(READ, ADMIN))
    folder = tmp_path / "export"
    assert "3 events exported and checked" in run.ok("tenant", "export", tenant, str(folder)).err
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert hooked.json()["secret"].encode() not in everything and b'hash"' not in everything
    assert msgspec.json.decode((folder / "retention.json").read_bytes())["maxAgeDays"] == 900
    assert len(msgspec.json.decode((folder / "keys.json").read_bytes())["keys"]) == 2
    assert len(msgspec.json.decode((folder / "checkpoints.json").read_bytes())["checkpoints"]) >= 1
    offline = cli.given(url="http://127.0.0.1:1", api_key="none")
    verify = ("verify", "--export", str(folder), "--key", key)
    assert "3 events are proven" in offline.ok(*verify).out
    refuse = partial(offline.run, *verify)
    assert run.fails(2, "tenant", "export", tenant, str(folder)).startswith("The folder")
    said = (folder / "tenant.json").read_bytes()
    (folder / "tenant.json").write_bytes(said.replace(tenant.encode(), b"another"))
    assert (refuse().code, "not all of those of the tenant" in refuse().err) == (5, True)
    (folder / "tenant.json").write_bytes(said)
    kept = (folder / "holds.json").read_bytes()
    (folder / "holds.json").write_bytes(kept + b" ")
    assert (refuse().code, "holds.json" in refuse().err) == (5, True)
    (folder / "holds.json").unlink()
    assert (refuse().code, "other files" in refuse().err) == (5, True)


def test_tenants_are_listed(cli: Cli, served: Served, api: httpx2.Client, tenant: str) -> None:
    """With their events, bytes, keys and last event; those that have only a key as well."""
    store(api, 2)
    served.key(READ, tenant=f"{tenant}-keyed")
    run = operator(cli, served)
    found = {each["tenantId"]: each for each in run.ok("tenant", "list", "--json").json["tenants"]}
    assert (found[tenant]["events"], found[tenant]["keys"], found[tenant]["payloadBytes"]) == (2, 1, 14)
    assert found[tenant]["recordedAt"] is not None
    assert found[f"{tenant}-keyed"]["recordedAt"] is None
    lines = run.ok("tenant", "list", env={"COLUMNS": "120"}).lines
    assert lines[0].split()[:2] == ["TENANT", "EVENTS"]
    assert f"{tenant}-keyed" in "\n".join(lines)
