"""Addresses of hosts: which are this machine, and which are public. Pure."""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

import msgspec

__all__ = [
    "PORTS",
    "PORT_MAX",
    "URL_MAX",
    "Address",
    "Allowed",
    "OutboundTarget",
    "embedded",
    "is_loopback",
    "is_loopback_url",
    "is_public",
    "parse_target",
]

PORT_MAX = 65_535


def is_loopback(host: str) -> bool:
    """Whether only programs on the same machine reach this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_url(url: str) -> bool:
    """Whether the host of this URL is this machine. False for what cannot be parsed."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by customers of a provider (CGNAT), and the metadata of some clouds
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, and the metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the broadcast address
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID and others
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
"""Networks that no webhook may reach. Python's `is_global` does not do: until 3.11.10 it calls NAT64, 6to4 and mapped
private addresses global."""

_UNICAST = ipaddress.IPv6Network("2000::/3")
"""The one part of IPv6 that is assigned to the public. Outside of it are loopback, mapped, NAT64, unique local,
link-local, site-local and multicast addresses."""

_LOW_32 = 0xFFFF_FFFF
_PREFIXES_OF_IPV4 = tuple(
    ipaddress.IPv6Network(network)
    for network in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
_6TO4 = ipaddress.IPv6Network("2002::/16")
_TEREDO = ipaddress.IPv6Network("2001::/32")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


class Allowed(msgspec.Struct, frozen=True):
    """What may be reached although it is not public: networks, and hosts with a port, in lower case."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> "Allowed":
        """What these entries allow: networks like 10.0.0.0/8, addresses, and host:port. Raises ValueError."""
        networks: list[Network] = []
        hosts: set[tuple[str, int]] = set()
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
                continue
            except ValueError:
                host, _, port = entry.rpartition(":")
            if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= PORT_MAX:
                raise ValueError("must list networks like 10.0.0.0/8, or host:port.")
            hosts.add((host.lower().removeprefix("[").removesuffix("]"), int(port)))
        return cls(tuple(networks), frozenset(hosts))

    def has_host(self, target: "OutboundTarget") -> bool:
        """Whether the host and port of a URL are listed."""
        return (target.host, target.port) in self.hosts

    def has_address(self, address: Address) -> bool:
        """Whether this address is in one of the networks."""
        return any(address in network for network in self.networks)

    def permits(self, address: Address) -> bool:
        """Whether an address may be reached: it and every IPv4 address in it are public, or in one of the networks."""
        return all(self.has_address(each) or is_public(each) for each in (address, *embedded(address)))


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public Internet, and to no special use."""
    if isinstance(address, ipaddress.IPv6Address) and (address not in _UNICAST or address.scope_id is not None):
        return False
    return not any(address in network for network in _REFUSED)


def embedded(address: Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that a translator or a tunnel may take from an IPv6 address."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    number = int(address)
    found: list[int] = []
    if any(address in network for network in _PREFIXES_OF_IPV4):
        found.append(number & _LOW_32)
    if address in _NAT64_LOCAL:  # by RFC 6052 a prefix of 48 bits is followed by 16 bits, 8 zero bits and 16 bits
        found.append(((number >> 64) & 0xFFFF) << 16 | (number >> 40) & 0xFFFF)
    if address in _6TO4:
        found.append((number >> 80) & _LOW_32)
    if address in _TEREDO:
        found += [(number >> 64) & _LOW_32, ~number & _LOW_32]
    if (number >> 32) & _LOW_32 in _ISATAP:
        found.append(number & _LOW_32)
    return [ipaddress.IPv4Address(each) for each in found]


URL_MAX = 2_048
"""Characters of a URL that may be called."""

PORTS = frozenset((80, 443, 8443))
"""The ports that may be called at any public host."""

_URL = re.compile(r"(https?)://([^/?#@\\]+)(/[^?#\\]*)?(\?[^#\\]*)?", re.IGNORECASE)
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_NUMBER_LIKE = re.compile(r"(0x[0-9a-f]*|[0-9]+)")


class OutboundTarget(msgspec.Struct, frozen=True):
    """A URL that may be called, in its parts. `host` is a name in lower case, or an address without brackets; `path`
    is what is asked of it."""

    is_https: bool
    host: str
    port: int
    path: str

    @property
    def address(self) -> Address | None:
        """The address that the URL names, or None for a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """The header Host: without the port where it is the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_https else 80) else f"{host}:{self.port}"


def parse_target(url: str) -> OutboundTarget:
    """The parts of a URL that is to be called. Only one spelling of each host is accepted, so that no two programs read
    it differently. Raises ValueError with a sentence."""
    if len(url) > URL_MAX:
        raise ValueError(f"A URL has at most {URL_MAX:,} characters.")
    if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
        raise ValueError("Write a URL in ASCII without blanks: an international name as xn--…, others as %XX.")
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("A URL is https://host/path, without a user, a password and a fragment.")
    scheme, authority, path, query = found.groups()
    is_https = scheme.lower() == "https"
    host, port = _host_and_port(authority.lower())
    _check_host(host, bracketed=authority.startswith("["))
    if port is None:
        port = 443 if is_https else 80
    return OutboundTarget(is_https, host, port, (path or "/") + (query or ""))


def _host_and_port(authority: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("An IPv6 address stands in brackets, as in https://[2606:4700::1111]/.")
        port = rest[1:] if rest else None
    else:
        host, colon, text = authority.partition(":")
        port = text if colon else None
    if port is None:
        return host, None
    if not (port.isdigit() and len(port) <= len(str(PORT_MAX)) and 1 <= int(port) <= PORT_MAX):
        raise ValueError(f"A port is a number from 1 to {PORT_MAX}.")
    return host, int(port)


def _check_host(host: str, *, bracketed: bool) -> None:
    """Raise ValueError unless this is an address in its usual form, or a name that cannot be read as one."""
    if bracketed:
        try:
            if ipaddress.IPv6Address(host).scope_id is not None:
                raise ValueError
        except ValueError:
            raise ValueError("What stands in brackets is an IPv6 address without a zone.") from None
        return
    if _NUMBER_LIKE.fullmatch(host.rpartition(".")[2]):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise ValueError("An IPv4 address is four decimal numbers without leading zeros.") from None
        return
    if _NAME.fullmatch(host) is None:
        raise ValueError("A host is a name of letters, digits and hyphens, without a dot at its end, or an address.")
