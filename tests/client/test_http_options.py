"""How a server is reached: certificates, proxies, own HTTP clients, and why nothing answers."""

import contextlib
import datetime as dt
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.api.conftest import Served, event, serving
from tests.client.fake_server import fake_server
from tests.ports import reserved_port
from whence.client import AsyncWhence, Unreachable, Whence
from whence.errors import WhenceError
from whence.permissions import READ, WRITE


def make_certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate for 127.0.0.1, in one file with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / f"{name}.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("server"), "server")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[Served]:
    """A server that speaks TLS."""
    with serving(tmp_path_factory.mktemp("tls"), tls_cert=certificate, tls_key=certificate) as running:
        running.url = running.url.replace("http:", "https:")
        yield running


async def reason(url: str, **options: Any) -> tuple[str, str]:
    """Why nothing answers: the slug and the sentence. Both clients say the same."""
    with Whence(url, "whk_secret", retries=0, timeout_s=5, **options) as log, pytest.raises(Unreachable) as caught:
        log.list()
    async with AsyncWhence(url, "whk_secret", retries=0, timeout_s=5, **options) as async_log:
        with pytest.raises(Unreachable) as caught_async:
            await async_log.list()
    assert (str(caught.value), caught.value.reason) == (str(caught_async.value), caught_async.value.reason)
    assert "secret" not in str(caught.value)
    assert str(caught.value).startswith(f"Nothing answers at {url}: ")
    return caught.value.reason, str(caught.value)


async def test_nothing_answers_for_a_reason(served: Served) -> None:
    """Refused, an unknown host, a certificate that is not trusted, and https where http is expected."""
    with reserved_port() as port:
        kind, sentence = await reason(f"http://127.0.0.1:{port}")
    assert (kind, "the connection was refused" in sentence) == ("refused", True)
    kind, sentence = await reason("http://no-such-host.invalid")
    assert (kind, "host name was not found" in sentence) == ("dns", True)
    kind, sentence = await reason(served.url)
    assert (kind, "certificate was not accepted (self-signed certificate)" in sentence) == ("tls", True)
    with fake_server() as server:
        kind, sentence = await reason(server.url.replace("http:", "https:"))
    assert (kind, "check http and https in the URL" in sentence) == ("tls", True)


async def test_a_proxy_is_named_as_the_reason() -> None:
    """One that does not answer, and one that refuses. Its password is in no sentence."""
    with reserved_port() as port:
        kind, sentence = await reason("http://log.example", proxy=f"http://user:secret@127.0.0.1:{port}")
    assert (kind, "the connection to the proxy failed: the connection was refused" in sentence) == ("proxy", True)
    with fake_server() as server:  # answers 501 to CONNECT
        kind, sentence = await reason("https://log.example", proxy=server.url)
    assert (kind, "the proxy refused the connection with 501" in sentence) == ("proxy", True)


def test_requests_go_through_the_proxy() -> None:
    """Also those of the sender."""
    with fake_server() as proxy, Whence("http://log.example", "whk_x", proxy=proxy.url, spool=False) as log:
        log.emit(event())
        assert log.flush(10)
        assert len(proxy.stored) == 1
        assert proxy.headers[0]["Host"] == "log.example"


async def test_a_ca_of_ones_own_is_trusted(served: Served, certificate: Path) -> None:
    """For queued and durable events, and for asyncio."""
    key = served.key(READ, WRITE, tenant="tls")
    with Whence(served.url, key, ca=certificate, spool=False) as log:
        log.emit(event())
        assert log.flush(10)
        log.emit(event(), durable=True)
    async with AsyncWhence(served.url, key, ca=str(certificate), spool=False) as async_log:
        assert (await async_log.list()).total == 2


@contextlib.contextmanager
def asking_for_a_certificate(own: Path, trusted: Path) -> Iterator[str]:
    """A server that accepts only clients with this certificate; its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"events":[],"hasNext":false,"limit":100,"offset":0,"total":0}')

        def log_message(self, format: str, *args: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    context.load_verify_locations(trusted)
    context.verify_mode = ssl.CERT_REQUIRED
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_a_client_certificate_is_sent(certificate: Path, tmp_path: Path) -> None:
    """In one file with its key, or in two. Without it the connection ends."""
    mine = make_certificate(tmp_path, "client")
    with asking_for_a_certificate(certificate, mine) as url:
        for given in (mine, str(mine), (mine, mine)):
            with Whence(url, "whk_x", ca=certificate, client_cert=given, retries=0) as log:
                assert log.list().total == 0
        with Whence(url, "whk_x", ca=certificate, retries=0) as log, pytest.raises(Unreachable):
            log.list()


@pytest.mark.parametrize(
    "options",
    [{"ca": "/nowhere.pem"}, {"ca": __file__}, {"client_cert": __file__}, {"client_cert": ("/a",) * 2}, {"proxy": "x"}],
    ids=range(5),
)
def test_unusable_options_are_named(options: dict[str, Any]) -> None:
    """When the client is made, in a sentence."""
    (name,) = options
    with pytest.raises(WhenceError, match=f"The option {name} must"):
        Whence("https://log.example", "whk_x", **options)


async def test_an_http_client_of_ones_own(tmp_path: Path) -> None:
    """It is used for every request, it may carry the credential, and it is closed with the client."""
    made: list[Any] = []

    def make(kind: Callable[..., Any]) -> Callable[[], Any]:
        def factory() -> Any:
            made.append(kind(headers={"X-Own": "1", "X-API-Key": "whk_own"}))
            return made[-1]

        return factory

    with fake_server() as server:
        with Whence(server.url, http_client=make(httpx2.Client), spool=tmp_path / "spool") as log:
            log.emit(event())
            assert log.flush(10)
        options: dict[str, Any] = {
            "http_client": make(httpx2.Client),
            "async_http_client": make(httpx2.AsyncClient),
            "spool": tmp_path / "spool",
        }
        async with AsyncWhence(server.url, **options) as async_log:
            await async_log.batch([event()])
            await async_log.emit(event())
            assert await async_log.flush(10)
        assert [(each["X-Own"], each["X-API-Key"]) for each in server.headers] == [("1", "whk_own")] * 3
        assert [each.is_closed for each in made] == [True] * 3
