"""Which connections are served: a number in all, a fair part of it for each address, and a reserve for probes."""

import ipaddress
from collections.abc import Sequence
from enum import Enum

from whence.errors import Busy, Throttled
from whence.fairness import FairBudget

__all__ = ["Admitted", "ConnectionLimits"]

_RESERVE = 32
_IPV6_PREFIX = 64  # one customer of a provider has at least this many addresses


class Admitted(Enum):
    """What a new connection may do."""

    FULLY = "fully"
    FOR_PROBES = "for probes"
    ADDRESS_IS_FULL = "address is full"
    SERVER_IS_FULL = "server is full"


class ConnectionLimits:
    """Counts the open connections of a server, and shares them among addresses as `whence.fairness` does among tenants.

    Connections of trusted proxies, behind which everybody has one address, count only towards the total; so do those
    without an address, of Unix sockets.
    """

    def __init__(self, total: int, trusted_proxies: Sequence[str] = ()) -> None:
        """`total` is the number of connections that are served fully."""
        self.total = total
        self._proxies = [ipaddress.ip_network(proxy, strict=False) for proxy in trusted_proxies]
        self._budgets = {
            Admitted.FULLY: FairBudget(total, "connections"),
            Admitted.FOR_PROBES: FairBudget(_RESERVE, "connections"),
        }

    def admit(self, host: str | None) -> tuple[Admitted, str | None]:
        """What a connection from this address may do, and the name under which it was counted, for `release`."""
        named = self._counted_as(host)
        refused = Admitted.SERVER_IS_FULL
        for admitted, budget in self._budgets.items():
            try:
                if named:
                    budget.take(named, 1)
                elif budget.used < budget.total:
                    budget.add(named, 1)
                else:
                    continue
            except Throttled:
                refused = Admitted.ADDRESS_IS_FULL
            except Busy:
                pass
            else:
                return admitted, named
        return refused, None

    def release(self, admitted: Admitted, named: str) -> None:
        """A connection that was admitted has ended."""
        self._budgets[admitted].give_back(named, 1)

    def _counted_as(self, host: str | None) -> str:
        """The address, or for IPv6 its network; empty if it has no limit of its own."""
        try:
            address = ipaddress.ip_address((host or "").partition("%")[0])
        except ValueError:
            return ""
        if address.version == 6:
            address = address.ipv4_mapped or address
        if any(address in proxies for proxies in self._proxies):
            return ""
        if address.version == 6:
            return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
        return str(address)
