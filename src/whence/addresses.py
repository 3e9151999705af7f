"""Addresses of hosts. Pure."""

import ipaddress
from urllib.parse import urlsplit

__all__ = ["is_loopback", "is_loopback_url"]


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
