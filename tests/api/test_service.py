"""The server as a process: it starts, logs what it should and nothing else, and stops."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.api.conftest import event, wait_until
from tests.api.credentials import ec_key
from tests.unit.mutants import catches, replaced
from whence.api import server
from whence.api.server import is_exposed
from whence.settings import Settings

EVENTS = "/api/v1/events"
MAIN = "import sys; from whence.cli import main; sys.exit(main())"
WHENCE = [sys.executable, "-c", MAIN]
STARTED_S = 20
STOPPED_S = 10
"""The promise: from the signal to the end."""


class Process:
    """`whence serve` with a store of its own, and what it said."""

    def __init__(self, folder: Path, *flags: str, before: str = "", **environ: str) -> None:
        """`before` is code of a mutant, which runs first."""
        self.folder = folder
        self.store = f"sqlite:///{folder}/whence.db"
        self.said_file = folder / f"said-{time.monotonic_ns()}"
        home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        home["WHENCE_PROCESSES"] = "1"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WHENCE_")}
        with self.said_file.open("wb") as said:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    f"{before}\n{MAIN}",
                    "serve",
                    "--store",
                    self.store,
                    *(flags if "--port" in flags else (*flags, "--port", "0")),
                ],
                stdout=said,
                stderr=subprocess.STDOUT,
                env=kept | home | {f"WHENCE_{name}": value for name, value in environ.items()},
            )

    def said(self) -> str:
        return self.said_file.read_text()

    def started(self) -> "Process":
        """Once it said its address."""
        wait_until(lambda: self.process.poll() is not None or " at http" in self.said(), STARTED_S)
        found = re.search(r" at (https?://\S+)", self.said())
        assert found, self.said()
        self.url = found[1]
        self.port = int(self.url.split(":")[2].partition("/")[0])
        return self

    def key(self) -> str:
        """The key of the first run, from the profile: only a terminal is shown it."""
        saved = self.folder / "whence" / "profiles.json"
        wait_until(saved.exists, STARTED_S)
        [profile] = json.loads(saved.read_text())["profiles"].values()
        key: str = profile["api_key"]
        assert key not in self.said()
        return key

    def client(self, **more: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, headers={"X-API-Key": self.key()}, timeout=20, **more)

    def log(self) -> list[dict[str, Any]]:
        """The lines of the log."""
        return [json.loads(line) for line in self.said().splitlines() if line.startswith("{")]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOPPED_S + 5)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server with no flag but its store and port."""
    process = Process(tmp_path_factory.mktemp("plain"))
    yield process.started()
    process.end()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Any]:
    """Starts servers on one folder; whatever still runs is ended."""
    made: list[Process] = []

    def start(*flags: str, **environ: str) -> Process:
        made.append(Process(tmp_path, *flags, **environ))
        return made[-1]

    yield start
    for process in made:
        process.end()


# Start and stop


def leave_work(process: Process) -> list[socket.socket]:
    """A body half sent, a head half sent, a response that is not read."""
    credential = f"X-API-Key: {process.key()}"
    begun = [
        f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\n{credential}\r\nContent-Length: 99\r\n\r\n{{".encode(),
        b"GET /livez HTTP/1.1\r\nHo",
        f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\n{credential}\r\n\r\n".encode(),
    ]
    open_ = [socket.create_connection(("127.0.0.1", process.port)) for _ in begun]
    for connection, part in zip(open_, begun, strict=True):
        connection.sendall(part)
    return open_


@pytest.mark.slow
def test_it_stops_in_time_with_work_open_and_keeps_what_it_took(processes: Any) -> None:
    """What clients left open, and an idle connection, do not keep it; the exit code is 0, and the next start has what
    was acknowledged."""
    process = processes().started()
    with process.client() as client:
        stored = [client.post(EVENTS, json=event(payload={"x": "y" * 200_000})).json()["id"] for _ in range(30)]
        open_ = leave_work(process)
        assert client.get("/livez").status_code == 200
        began_at = time.monotonic()
        code = process.stop()
    assert (code, time.monotonic() - began_at < STOPPED_S) == (0, True), process.said()
    for connection in open_:
        connection.close()
    key = process.key()
    again = processes().started()
    with httpx2.Client(base_url=again.url, headers={"X-API-Key": key}) as client:
        assert client.get(EVENTS, params={"limit": 1}).json()["total"] == len(stored)
        assert all(client.get(f"{EVENTS}/{event_id}").status_code == 200 for event_id in stored[-2:])
    assert again.stop(signal.SIGINT) == 0


@pytest.mark.slow
def test_a_server_that_waits_for_open_work_is_found(processes: Any) -> None:
    """Mutant: a stop without a grace period. Only the last resort ends the process, and not with 0."""
    process = processes(before="import whence.api.server as it; it._GRACE_S, it._KILL_S = None, 1.5").started()
    open_ = leave_work(process)
    assert process.stop() == 1
    assert len(open_) == 3


def test_it_answers_as_soon_as_it_says_so(plain: Process) -> None:
    """The probes, a write and a read, with the key that it printed."""
    assert httpx2.get(f"{plain.url}/livez").json() == {"status": "ok"}
    assert httpx2.get(f"{plain.url}/readyz").json() == {"status": "ok"}
    with plain.client() as client:
        assert client.post(EVENTS, json=event()).status_code == 201
        assert client.get(EVENTS).json()["total"] >= 1


def test_a_second_server_on_the_same_file_is_refused(plain: Process) -> None:
    """With a sentence and exit code 1; the first one keeps running."""
    second = Process(plain.folder)
    assert second.process.wait(STARTED_S) == 1
    assert re.search(r"\b(already|another)\b.*\.\s*$", second.said()), second.said()
    assert "Traceback" not in second.said()
    with plain.client() as client:
        assert client.post(EVENTS, json=event()).status_code == 201


def test_a_key_made_beside_the_server_works_at_once(plain: Process) -> None:
    """The command opens the same file while the server runs."""
    command = [*WHENCE, "key", "create", "--store", plain.store, "--tenant", "beside", "--scope", "events:read"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=STARTED_S, check=False)
    assert done.returncode == 0, done.stderr
    found = re.search(r"whk_\w+", done.stdout + done.stderr)
    assert found
    assert httpx2.get(plain.url + EVENTS, headers={"X-API-Key": found[0]}).json()["total"] == 0


def test_a_port_that_is_taken_is_said_before_anything_is_made(plain: Process, processes: Any) -> None:
    """Exit code 1, a sentence with the port, and no store."""
    process = processes("--port", str(plain.port))
    assert process.process.wait(STARTED_S) == 1
    assert str(plain.port) in process.said()
    assert "Traceback" not in process.said()
    assert not (process.folder / "whence.db").exists()


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["--root-path", "log/"], "--root-path"),
        (["--tls-cert", "/no/such/file"], "WHENCE_TLS"),
    ],
)
def test_a_setting_that_cannot_hold_is_said(processes: Any, flags: list[str], name: str) -> None:
    """Exit code 2 and a sentence that names it; nothing is made."""
    process = processes(*flags)
    assert process.process.wait(STARTED_S) == 2
    assert name in process.said()
    assert "Traceback" not in process.said()
    assert not (process.folder / "whence.db").exists()


# The log


WORDS = {"query": "zanzibar", "payload": "madagaskar", "header": "mauritius", "secret": "whk_" + "x" * 49}


def ask_with_secrets(process: Process) -> dict[str, httpx2.Response]:
    """Requests with secret words in every place, by their request id, once they are logged."""
    with process.client(cookies={"vai_token": WORDS["header"]}) as client:

        def ask(request_id: str, method: str, path: str, **more: Any) -> httpx2.Response:
            headers = {"X-Request-Id": request_id} | more.pop("headers", {})
            return client.request(method, path, headers=headers, **more)

        asked = {
            "log-list": ask("log-list", "GET", f"{EVENTS}?actor_id={WORDS['query']}"),
            "log-422": ask("log-422", "GET", f"{EVENTS}?{WORDS['query']}=1"),
            "log-post": ask("log-post", "POST", EVENTS, json=event(payload={"x": WORDS["payload"]})),
            "log-bad": ask(
                "log-bad", "POST", EVENTS, json=event(actorType=WORDS["payload"]), headers={"X": WORDS["header"]}
            ),
            "log-401": ask("log-401", "GET", EVENTS, headers={"X-API-Key": WORDS["secret"]}),
            "log-413": ask("log-413", "POST", EVENTS, content=b"x" * 400_000),
            "log-404": ask("log-404", "GET", "/nothing"),
        }
    wait_until(lambda: all(f'"{request_id}"' in process.said() for request_id in asked))
    return asked


def logged_secrets(process: Process) -> list[str]:
    logged = json.dumps(process.log())
    return [word for word in (*WORDS.values(), process.key()) if word in logged]


def test_the_log_has_a_line_a_request_and_no_secret(plain: Process) -> None:
    """Method, path, status, time, request id and tenant; never a query string, a body, a header or a key."""
    asked = ask_with_secrets(plain)
    lines = {line["request_id"]: line for line in plain.log() if line.get("event") == "request"}
    for request_id, answer in asked.items():
        line = lines[request_id]
        assert line.keys() == {"event", "level", "timestamp", "method", "path", "status", "ms", "request_id", "tenant"}
        assert (line["status"], line["method"]) == (answer.status_code, answer.request.method)
        assert line["path"] == answer.request.url.path
        assert line["tenant"] == (None if request_id in ("log-401", "log-404") else "default")
    assert logged_secrets(plain) == []


LOGS_ALL = """
import whence.api.middleware as it
begin = it.HTTPMiddleware.begin
def telling(self, scope, target):
    state = begin(self, scope, target)
    state["public_path"] += "?" + scope["query_string"].decode()
    return state
it.HTTPMiddleware.begin = telling
"""


def test_a_log_that_tells_too_much_is_found(processes: Any) -> None:
    """Mutant: the query string is logged after the path."""
    process = processes(before=LOGS_ALL).started()
    ask_with_secrets(process)
    assert logged_secrets(process) == [WORDS["query"]]


def test_a_request_id_is_given_to_who_sends_none(plain: Process) -> None:
    """It is in the answer, in the body of an error, and in the log; each request has its own."""
    answers = [httpx2.get(plain.url + EVENTS) for _ in range(2)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == 2
    assert [answer.json()["requestId"] for answer in answers] == ids
    wait_until(lambda: all(request_id in plain.said() for request_id in ids))


def test_probes_are_not_logged(plain: Process) -> None:
    """They come every second and would bury the rest."""
    for path in ("/livez", "/readyz"):
        assert httpx2.get(plain.url + path, headers={"X-Request-Id": "a-probe"}).status_code == 200
    assert httpx2.get(f"{plain.url}/nothing", headers={"X-Request-Id": "behind-the-probes"}).status_code == 404
    wait_until(lambda: "behind-the-probes" in plain.said())
    assert "a-probe" not in plain.said()


# Behind a proxy, and for pages of another origin


APP = "https://app.example.com"


@pytest.fixture(scope="module")
def fronted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server behind a proxy on this machine, under a path, for the pages of one other origin."""
    flags = ["--root-path", "/log", "--trusted-proxy", "127.0.0.1", "--cors-origin", APP]
    process = Process(tmp_path_factory.mktemp("fronted"), *flags, BAD_CREDENTIALS_PER_MINUTE="1")
    yield process.started()
    process.end()


def test_the_root_path_is_in_every_address_that_is_told(fronted: Process) -> None:
    """In the address at the start, Location, Link and the document; requests may have it or not."""
    assert fronted.url.endswith("/log")
    bare = fronted.url.removesuffix("/log")
    with fronted.client() as client:
        for base in (bare, fronted.url):
            made = client.post(base + EVENTS, json=event())
            assert made.headers["location"] == f"/log{EVENTS}/{made.json()['id']}"
            assert client.get(bare + made.headers["location"]).status_code == 200
            page = client.get(base + EVENTS, params={"limit": 1})
            if page.json()["hasNext"]:
                link = page.headers["link"]
                assert link.startswith(f"</log{EVENTS}?limit=1&cursor=")
                assert client.get(bare + link[1 : link.index(">")]).status_code == 200
        assert client.get(f"{bare}/openapi.json").json()["servers"] == [{"url": "/log"}]


def test_a_trusted_proxy_tells_who_the_client_is(fronted: Process) -> None:
    """The throttle counts by the address that it names, and the cookie is for the scheme that it names."""
    bad = {"X-API-Key": "bad"}
    for address, statuses in (("203.0.113.1", [401, 429]), ("203.0.113.2", [401, 429])):
        headers = bad | {"X-Forwarded-For": f"198.51.100.9, {address}"}
        assert [httpx2.get(fronted.url + EVENTS, headers=headers).status_code for _ in range(2)] == statuses
    with fronted.client() as client:
        for scheme, secure in (("https", True), ("http", False)):
            headers = {"X-Forwarded-Proto": scheme, "X-Forwarded-Host": "log.example"}
            cookie = client.post("/api/v1/session", headers=headers).headers["set-cookie"]
            assert ("; Secure" in cookie) is secure


def test_a_proxy_that_is_not_trusted_tells_nothing(plain: Process) -> None:
    """Its headers are those of any client."""
    with plain.client() as client:
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.1"}
        assert "; Secure" not in client.post("/api/v1/session", headers=headers).headers["set-cookie"]


def test_a_preflight_opens_the_api_to_one_origin(fronted: Process) -> None:
    """Without a credential; to another origin nothing is said."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allowed = httpx2.options(fronted.url + EVENTS, headers=asked | {"Origin": APP})
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (204, APP)
    assert "POST" in allowed.headers["access-control-allow-methods"]
    other = httpx2.options(fronted.url + EVENTS, headers=asked | {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    with fronted.client() as client:
        answer = client.get(EVENTS, headers={"Origin": APP})
        assert answer.headers["access-control-allow-origin"] == APP
        assert "Link" in answer.headers["access-control-expose-headers"]


# TLS


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine and its key, as PEM files."""
    key, name = ec_key("tls"), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def test_it_speaks_tls_with_the_files_that_it_is_given(processes: Any, tmp_path: Path) -> None:
    """The cookie is Secure, plain HTTP is not answered, a large answer comes whole, and it stops as without TLS."""
    cert, key = self_signed(tmp_path)
    process = processes("--tls-cert", str(cert), "--tls-key", str(key)).started()
    assert process.url.startswith("https://")
    trusting = ssl.create_default_context(cafile=str(cert))
    headers = {"X-API-Key": process.key()}
    with httpx2.Client(base_url=f"https://localhost:{process.port}", verify=trusting, headers=headers) as client:
        sent = [event(payload={"x": "y" * 200_000})] * 20
        assert client.post(f"{EVENTS}/batch", json=sent).status_code == 201
        assert len(client.get(EVENTS).content) > 4_000_000
        assert "; Secure" in client.post("/api/v1/session").headers["set-cookie"]
        refused = client.post(EVENTS, content=b"x" * 8_000_000, headers={"X-API-Key": "bad", "Connection": "close"})
        assert refused.status_code == 401
    with pytest.raises(httpx2.HTTPError):
        httpx2.get(f"http://localhost:{process.port}/livez")
    assert process.stop() == 0


EXPOSED: list[tuple[dict[str, Any], bool]] = [
    ({}, False),
    ({"host": "127.0.0.2"}, False),
    ({"host": "::1"}, False),
    ({"host": "localhost"}, False),
    ({"host": "0.0.0.0"}, True),
    ({"host": "::"}, True),
    ({"host": "192.0.2.7"}, True),
    ({"host": "log.example"}, True),
    ({"host": "0.0.0.0", "trusted_proxies": ("10.0.0.0/8",)}, False),
    ({"host": "0.0.0.0", "tls_cert": Path(__file__), "tls_key": Path(__file__)}, False),
]
"""Settings, and whether other machines reach such a server by plain HTTP."""


@catches(
    replaced(server, "is_loopback", lambda _host: True, "every_host_is_this_machine"),
    replaced(server, "is_loopback", lambda host: host == "127.0.0.1", "one_address_is_this_machine"),
)
def test_plain_http_to_other_machines_is_noticed() -> None:
    """Not to this machine alone, nor behind a proxy, nor with TLS."""
    for settings, exposed in EXPOSED:
        assert is_exposed(Settings(**settings)) is exposed, settings


def test_a_server_in_plain_http_for_all_warns_at_its_start(processes: Any) -> None:
    """Once, with what to do about it."""
    process = processes("--host", "0.0.0.0").started()
    assert [line["host"] for line in warnings_of(process)] == ["0.0.0.0"]
    assert "WHENCE_TLS_CERT" in warnings_of(process)[0]["advice"]


def warnings_of(process: Process) -> list[dict[str, Any]]:
    return [line for line in process.log() if line.get("event") == "plain_http"]


def test_a_server_that_does_not_warn_is_found(processes: Any) -> None:
    """Mutant: no server is exposed."""
    never = "import whence.api.server as it\nit.is_exposed = lambda settings: False"
    assert warnings_of(processes("--host", "0.0.0.0", before=never).started()) == []


@pytest.mark.parametrize("number", ["1", "2"])
def test_systemd_learns_of_the_start_and_the_stop(
    number: str, processes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As sd_notify(3) describes, once the server answers and when it stops, by one process or by several."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(STARTED_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        server = processes("--processes", number)
        assert manager.recv(100) == b"READY=1"
        assert httpx2.get(server.started().url + "/livez").status_code == 200
        assert server.stop() == 0
        assert manager.recv(100) == b"STOPPING=1"


def test_several_processes_log_under_their_names(processes: Any) -> None:
    """Each line says which of them wrote it."""
    server = processes("--processes", "2").started()
    for _ in range(20):
        assert httpx2.get(server.url + "/api/v1/events").status_code == 401
    wait_until(lambda: len(server.log()) >= 20, STARTED_S)
    names = {line["process"] for line in server.log() if line["event"] == "request"}
    assert names == {"acceptor-1", "acceptor-2"}
