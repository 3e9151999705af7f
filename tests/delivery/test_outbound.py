"""The sender of webhooks reaches no address that is not public, and is bounded in time and size. With real sockets."""

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.delivery.receivers import Receiver, answering, dripping, endless, hanging, receiving, resetting
from tests.ports import reserved_port
from tests.unit.mutants import catches, replaced
from whence import outbound
from whence.addresses import Allowed, OutboundTarget, parse_target
from whence.outbound import Answer, Sender, TargetRefused

LOOPBACK = Allowed.parse(["127.0.0.0/8"])
PUBLIC = "8.8.8.8"


def of(receiver: Receiver, host: str = "127.0.0.1", scheme: str = "https") -> OutboundTarget:
    return parse_target(f"{scheme}://{host}:{receiver.port}/hook")


async def post(sender: Sender, target: OutboundTarget, body: bytes = b"{}") -> Answer:
    try:
        return await sender.post(target, "acme", {"X-Test": "1"}, body)
    finally:
        await sender.close()


def names(**addresses: str | list[str]) -> Callable[[str, int], Sequence[str]]:
    """A resolver that knows these names, with `_` for dots."""

    def resolve(host: str, _port: int) -> Sequence[str]:
        found = addresses[host.replace(".", "_")]
        return [found] if isinstance(found, str) else found

    return resolve


FORMS = [
    "127.0.0.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fe80::1]",
    "[fc00::1]",
    "0.0.0.0",
    "[::]",
    "169.254.169.254",
    "10.0.0.1",
    "100.64.0.1",
    "192.168.0.1",
    "224.0.0.1",
    "255.255.255.255",
]
"""Hosts that are spelled as they should be. `tests/unit/test_targets.py` has the other spellings."""


@catches(replaced(Allowed, "permits", lambda _self, _address: True, "every_address_is_permitted"))
async def test_no_form_of_a_private_address_is_connected_to() -> None:
    """Neither written in the URL, nor found by a name, on every port of the list."""
    async with receiving() as receiver:
        sender = Sender(Allowed())
        for port in (receiver.port, 443, 8443, 80):
            for host in FORMS:
                target = parse_target(f"https://{host}:{port}/")
                answer = await post(sender, target)
                assert answer.status is None and "not public" in answer.error, (host, answer)
                with pytest.raises(TargetRefused):
                    await sender.check(target, "acme")
        for found in (["127.0.0.1"], ["::1"], [PUBLIC, "127.0.0.1"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"]):
            sender = Sender(Allowed(), resolve=names(a_example=found))
            answer = await post(sender, of(receiver, "a.example"))
            assert "not public" in answer.error and not any(address in answer.error for address in found)
        assert "not public" in (await post(Sender(Allowed()), of(receiver, "localhost"))).error
        assert receiver.accepted == 0


def at_connecting(patch: pytest.MonkeyPatch) -> None:
    """The name is resolved once more when the connection is made."""

    async def connect(self: outbound._GuardedBackend, host: str, port: int, *_rest: object, **_more: object) -> object:
        guard = self._guard
        await guard.addresses(host, port, is_https=self._is_https)
        address = guard._resolve(host, port)[0]
        return await self._inner.connect_tcp(address, port)

    patch.setattr(outbound._GuardedBackend, "connect_tcp", connect)


@catches(at_connecting)
async def test_a_name_that_changes_between_check_and_connection_leads_nowhere_else() -> None:
    """It is public at creation and private at delivery; or from one lookup to the next. No private address is reached:
    the connection goes to an address that was checked."""
    async with receiving() as receiver:
        answers = iter([PUBLIC, "127.0.0.1"])
        sender = Sender(Allowed(), resolve=lambda _host, _port: [next(answers)])
        target = parse_target("https://rebinds.example/")
        await sender.check(target, "acme")
        assert "not public" in (await post(sender, target)).error

        asked: list[str] = []

        def flipping(_host: str, _port: int) -> list[str]:
            asked.append(_host)
            return ["127.0.0.2" if len(asked) % 2 else "127.0.0.1"]  # the second is not allowed below

        allowed = Allowed.parse(["127.0.0.2/32"])
        answer = await post(Sender(allowed, resolve=flipping, timeout_s=2.0), of(receiver, "rebinds.example", "http"))
        assert len(asked) == 1, "the name was resolved a second time"
        assert answer.status is None
        assert receiver.accepted == 0


async def test_plain_text_and_other_ports_need_leave() -> None:
    """Http and ports outside of the list reach only what the operator has allowed: by network, or by host and port."""
    async with receiving() as receiver:
        resolve = names(a_example=PUBLIC, hooks_internal="127.0.0.1")
        for url, sentence in (("http://a.example/", "https"), ("https://a.example:8444/", "port")):
            answer = await post(Sender(LOOPBACK, resolve=resolve), parse_target(url))
            assert sentence in answer.error, answer
        named = Allowed.parse([f"hooks.internal:{receiver.port}"])
        for allowed, host in ((LOOPBACK, "127.0.0.1"), (named, "hooks.internal")):
            answer = await post(Sender(allowed, resolve=resolve), of(receiver, host, "http"))
            assert answer.status == 200, answer
        answer = await post(Sender(named, resolve=resolve), of(receiver, "127.0.0.1", "http"))
        assert "not public" in answer.error  # the name is allowed, and not its address
        assert receiver.accepted == 2


async def test_a_request_is_a_plain_post_without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Host by the name, the length, and no variable of the environment in between."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    async with receiving() as receiver:
        sender = Sender(Allowed.parse([f"hooks.internal:{receiver.port}"]), resolve=names(hooks_internal="127.0.0.1"))
        answer = await sender.post(of(receiver, "hooks.internal", "http"), "acme", {"X-Test": "1"}, b'{"a":1}')
        again = await sender.post(of(receiver, "hooks.internal", "http"), "acme", {}, b"")
        await sender.close()
        assert (answer.status, answer.body, again.status) == (200, b"ok", 200)
        assert receiver.accepted == 1  # the connection was kept
        first = receiver.received[0]
        assert (first.body, first.path) == (b'{"a":1}', "/hook")
        assert first.headers["host"] == f"hooks.internal:{receiver.port}"
        assert first.headers["x-test"] == "1" and first.headers["accept-encoding"] == "identity"


async def test_a_redirect_is_an_answer() -> None:
    """It is not followed, wherever it leads."""
    async with receiving() as other, receiving() as receiver:
        receiver.behaviour = answering(302, Location=other.url)
        answer = await post(Sender(LOOPBACK), of(receiver, scheme="http"))
        assert (answer.status, other.accepted) == (302, 0)


async def test_an_answer_is_bounded_in_time_and_size() -> None:
    """A head that does not come, or a byte at a time, is an error after the limit; of a body that never ends, the first
    kibibyte is kept."""
    for behaviour in (hanging, dripping):
        async with receiving(behaviour) as receiver:
            began = time.monotonic()
            answer = await post(Sender(LOOPBACK, timeout_s=0.4), of(receiver, scheme="http"))
            assert answer.status is None and "no answer within 0.4 s" in answer.error
            assert time.monotonic() - began < 10
    async with receiving(endless) as receiver:
        answer = await post(Sender(LOOPBACK), of(receiver, scheme="http"))
        assert (answer.status, answer.body) == (200, b"x" * 1024)
        await receiver.until(lambda: receiver.at_once == 0)  # the connection was closed
    async with receiving(answering(200, b"x" * 5_000)) as receiver:
        assert (await post(Sender(LOOPBACK), of(receiver, scheme="http"))).body == b"x" * 1024


async def test_a_failure_is_a_sentence() -> None:
    """Not an exception, and nothing of what the other side sent."""
    with reserved_port() as port:
        answer = await post(Sender(LOOPBACK), parse_target(f"http://127.0.0.1:{port}/"))
    assert "refused the connection" in answer.error
    async with receiving(resetting) as receiver:
        answer = await post(Sender(LOOPBACK), of(receiver, scheme="http"))
        assert answer.status is None and "connection" in answer.error

    def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known: secret.internal")

    answer = await post(Sender(LOOPBACK, resolve=unknown), parse_target("https://a.example/"))
    assert answer.error == "The name of the host does not resolve."
    await Sender(LOOPBACK, resolve=unknown).check(parse_target("https://a.example/"), "acme")  # it may later


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None)])
async def test_retry_after_is_read(value: str, seconds: float | None) -> None:
    """As seconds, or as a date."""
    async with receiving(answering(429, Retry_After=value)) as receiver:
        answer = await post(Sender(LOOPBACK), of(receiver, scheme="http"))
        assert (answer.status, answer.retry_after_s) == (429, seconds)


async def test_names_that_hang_hold_up_their_own_tenant_only() -> None:
    """A lookup cannot be interrupted. Those of one tenant leave threads for the others."""
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def resolve(host: str, _port: int) -> list[str]:
        if host == "hangs.example":
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(20)
        return ["127.0.0.1"]

    async with receiving() as receiver:
        allowed = Allowed.parse([f"good.example:{receiver.port}", "hangs.example:1"])
        sender = Sender(allowed, resolve=resolve, timeout_s=15.0)
        hang = parse_target("http://hangs.example:1/")
        hanging_ones = [asyncio.create_task(sender.post(hang, "slow", {}, b"")) for _ in range(40)]
        await asyncio.sleep(0.1)
        answer = await sender.post(of(receiver, "good.example", "http"), "acme", {}, b"")
        assert answer.status == 200
        release.set()
        await asyncio.gather(*hanging_ones)
        await sender.close()


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The contexts of a server with a certificate for this name, and of a client that trusts its issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    (folder / "cert.pem").write_bytes(made.public_bytes(encoding))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return server, ssl.create_default_context(cafile=str(folder / "cert.pem"))


async def test_tls_is_verified_against_the_name(tmp_path: Path) -> None:
    """The connection goes to the checked address, and the certificate has to be that of the name in the URL; the name
    is sent as SNI."""
    server, client = certificate(tmp_path, "hooks.example")
    indicated: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: indicated.append(name)
    async with receiving(tls=server) as receiver:
        resolve = names(hooks_example="127.0.0.1", other_example="127.0.0.1")
        good = await post(Sender(LOOPBACK, resolve=resolve, ssl_context=client), of(receiver, "hooks.example"))
        assert (good.status, good.error) == (200, "")
        assert receiver.received[0].headers["host"].startswith("hooks.example:")
        for host, context in (("other.example", client), ("127.0.0.1", client), ("hooks.example", None)):
            bad = await post(Sender(LOOPBACK, resolve=resolve, ssl_context=context), of(receiver, host))
            assert bad.error == "The certificate of the host is not valid for it."
        assert indicated[:2] == ["hooks.example", "other.example"]
        assert len(receiver.received) == 1


def test_the_system_resolver_reads_numbers_as_addresses() -> None:
    """Why a host that looks like a number is refused before it is resolved."""
    for spelling in ("127.1", "2130706433", "0x7f000001", "017700000001"):
        assert [ipaddress.ip_address(text).is_loopback for text in outbound.resolve(spelling, 80)] == [True]
