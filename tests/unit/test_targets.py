"""Which URLs may be called: one spelling of each host, and no address that is not public."""

import ipaddress
import re

import pytest

from tests.unit.mutants import catches, replaced
from whence import addresses
from whence.addresses import Allowed, embedded, is_public, parse_target

REFUSED_URLS = [
    "",
    "example.com",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "https://",
    "https:///path",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://example.com@127.0.0.1/",
    "https://example.com#@127.0.0.1/",
    "https://127.0.0.1\\@example.com/",
    "https://example.com\\.internal/",
    "https://127.1/",
    "https://127.0.1/",
    "https://0/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0X7F.1/",
    "https://2130706433/",
    "https://017700000001/",
    "https://0177.0.0.1/",
    "https://127.0.0.01/",
    "https://256.256.256.256/",
    "https://127.0.0.1./",
    "https://localhost./",
    "https://example.com./",
    "https://example..com/",
    "https://.example.com/",
    "https://-example.com/",
    "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11/",
    "https://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/",
    "https://127\u30020\u30020\u30021/",
    "https://bücher.example/",
    "https://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/",
    "https://%6c%6f%63alhost/",
    "https://127%2e0%2e0%2e1/",
    "https://[127.0.0.1]/",
    "https://[::1/",
    "https://[::1]x/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://::1/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:+443/",
    "https://example.com:4 3/",
    "https://example.com:443:443/",
    "https://exam\tple.com/",
    "https://exam\nple.com/",
    "https://example.com/ path",
    "https://example.com/\r\nX-Evil: 1",
    "https://example.com/#fragment",
    "https://example.com/" + "a" * 2_100,
    "https://" + "a." * 130 + "com/",
]


@catches(
    replaced(addresses, "_check_host", lambda _host, *, bracketed: None, "every_host_is_taken"),
    replaced(addresses, "_URL", re.compile(r"(\w+)://([^/?#]+)(/[^?#]*)?(\?.*)?"), "a_lax_pattern"),
)
def test_a_url_has_one_spelling() -> None:
    """Every other is refused with a sentence that repeats nothing of it."""
    for url in REFUSED_URLS:
        with pytest.raises(ValueError, match=r"\.$|\.\S+/\.$") as caught:
            parse_target(url)
        assert len(url) < 12 or url not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "authority"),
    [
        ("https://example.com", "example.com", 443, "/", "example.com"),
        ("HTTPS://Example.COM/Path?Query=%20", "example.com", 443, "/Path?Query=%20", "example.com"),
        ("https://example.com?x=1", "example.com", 443, "/?x=1", "example.com"),
        ("https://example.com:8443/a//b", "example.com", 8443, "/a//b", "example.com:8443"),
        ("http://localhost:3000/", "localhost", 3000, "/", "localhost:3000"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443, "/", "xn--bcher-kva.example"),
        ("https://8.8.8.8/", "8.8.8.8", 443, "/", "8.8.8.8"),
        ("https://[2606:4700::1111]:8443/", "2606:4700::1111", 8443, "/", "[2606:4700::1111]:8443"),
        ("https://a_b.example/", "a_b.example", 443, "/", "a_b.example"),
    ],
)
def test_the_parts_of_a_url(url: str, host: str, port: int, path: str, authority: str) -> None:
    """Host in lower case, the usual port, and the path as it is."""
    target = parse_target(url)
    assert (target.host, target.port, target.path, target.authority) == (host, port, path, authority)
    assert target.is_https == url.lower().startswith("https")


NOT_PUBLIC = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.254
169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1
198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::7f00:1
::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b::808:808
64:ff9b:1::7f00:1 64:ff9b:1:7f00:0:100:: 100::1 2001::1 2001:0:808:808::1 2001:2::1 2001:10::1 2001:20::1 2001:db8::1
2002:7f00:1:: 2002:808:808::1 2620:4f:8000::1 3fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0
fec0::1 ff02::1 ffff:: 2606:4700::5efe:7f00:1 2606:4700::200:5efe:a00:1
"""

PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255
169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0
223.255.255.255 2001:200::1 2001:4860:4860::8888 2003::1 2606:4700::1111 2a00::1 3ffe::1
"""


@catches(
    replaced(addresses, "_REFUSED", (), "no_network_is_refused"),
    replaced(addresses, "_UNICAST", ipaddress.IPv6Network("::/0"), "all_of_ipv6_is_public"),
    replaced(addresses, "embedded", lambda _address: [], "embedded_addresses_are_not_checked"),
)
def test_only_public_addresses_are_permitted() -> None:
    """Neither special networks nor those of translators and tunnels, up to their edges."""
    permits = Allowed().permits
    assert [text for text in NOT_PUBLIC.split() if permits(ipaddress.ip_address(text))] == []
    assert [text for text in PUBLIC.split() if not permits(ipaddress.ip_address(text))] == []


def test_embedded_addresses_are_taken_out() -> None:
    """By every translator and tunnel that has a form of its own."""
    forms = ["::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1:a00:0:100::", "2002:a00:1::5",
             "2001:0:a00:1::", "2606:4700::5efe:10.0.0.1", "2001:0:808:808::f5ff:fffe"]  # fmt: skip
    wanted = ipaddress.IPv4Address("10.0.0.1")
    assert [form for form in forms if wanted not in embedded(ipaddress.ip_address(form))] == []
    assert embedded(ipaddress.ip_address("2606:4700::1111")) == []


def test_an_allowed_network_allows_its_addresses_and_no_more() -> None:
    """Not the same address in another form, and through a translator only what is allowed itself."""
    allowed = Allowed.parse(["10.1.0.0/16", "64:ff9b::/96", "fd00::7", "hooks.internal:9000", "[::1]:8080"])
    assert all(allowed.permits(ipaddress.ip_address(text)) for text in ("10.1.2.3", "fd00::7", "64:ff9b::808:808"))
    assert allowed.permits(ipaddress.ip_address("64:ff9b::10.1.0.1"))
    for text in ("10.2.0.1", "::ffff:10.1.0.1", "fd00::8", "64:ff9b::10.2.0.1", "64:ff9b::169.254.169.254", "::1"):
        assert not allowed.permits(ipaddress.ip_address(text)), text
    assert allowed.has_host(parse_target("http://HOOKS.internal:9000/x"))
    assert allowed.has_host(parse_target("http://[::1]:8080/x"))
    assert not allowed.has_host(parse_target("https://hooks.internal/"))


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "host", "host:", ":80", "host:0", "host:99999", "host:x", "*"])
def test_what_allows_nothing_is_refused(entry: str) -> None:
    """With a sentence that does not repeat it."""
    with pytest.raises(ValueError, match="must list networks"):
        Allowed.parse([entry])


def test_python_calls_addresses_public_that_are_not() -> None:
    """The reason for lists of our own: what the standard library of some supported version lets pass."""
    assert not is_public(ipaddress.ip_address("64:ff9b::7f00:1"))
    assert not is_public(ipaddress.ip_address("2002:7f00:1::"))
