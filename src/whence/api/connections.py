"""Which connections are served: a number in all, a fair part of it for each address, and a reserve for probes."""

import ipaddress
from collections.abc import Callable, Sequence
from enum import Enum

import msgspec

from whence.errors import Busy, Throttled
from whence.fairness import FairBudget, LoopTurns

__all__ = ["Admitted", "ConnectionLimits", "Purpose"]

_RESERVE = 32
_IPV6_PREFIX = 64  # one customer of a provider has at least this many addresses


class Purpose(Enum):
    """What a connection is for."""

    REQUESTS = "requests"
    PROBES = "probes"
    NOTHING = "nothing"


class Admitted(msgspec.Struct, frozen=True):
    """How a new connection was received. `address_is_full`: not all was used up, but what its address may use."""

    purpose: Purpose
    counted_as: str
    address_is_full: bool = False


class ConnectionLimits:
    """Counts the open connections of a server, and shares them among addresses as `whence.fairness` does among tenants.

    Connections of trusted proxies, behind which everybody has one address, count only towards the total; so do those
    without an address, of Unix sockets.
    """

    def __init__(
        self, total: int, trusted_proxies: Sequence[str] = (), refused: Callable[[str], object] = lambda _code: None
    ) -> None:
        """`total` is the number of connections that are served fully. `refused` is called with the code of each error
        that the protocol itself answers. `turns` is the time of the event loop in which bytes are parsed and
        requests begin, addresses in turns."""
        self.total = total
        self.refused = refused
        self._proxies = [ipaddress.ip_network(proxy, strict=False) for proxy in trusted_proxies]
        self._budgets = {
            Purpose.REQUESTS: FairBudget(total, "connections"),
            Purpose.PROBES: FairBudget(_RESERVE, "connections"),
        }
        self._handshakes = FairBudget(total, "connections")
        self.turns = LoopTurns()

    @property
    def served(self) -> int:
        """The connections that are open and served, those of probes included."""
        return sum(budget.used for budget in self._budgets.values())

    def admit(self, host: str | None) -> Admitted:
        """Receive a connection from this address. It is counted until `release`."""
        named, address_is_full = self._counted_as(host), False
        for purpose, budget in self._budgets.items():
            try:
                _take(budget, named)
            except Throttled:
                address_is_full = True
            except Busy:
                pass
            else:
                return Admitted(purpose, named, address_is_full)
        return Admitted(Purpose.NOTHING, named, address_is_full)

    def release(self, admitted: Admitted) -> None:
        """The connection has ended."""
        if admitted.purpose is not Purpose.NOTHING:
            self._budgets[admitted.purpose].give_back(admitted.counted_as, 1)

    def begin_handshake(self, host: str | None) -> str | None:
        """Receive a connection whose TLS handshake begins. It counts among those until `end_handshake` is called with
        what is returned; None if there are too many. There may be as many as connections that are served."""
        named = self._counted_as(host)
        try:
            _take(self._handshakes, named)
        except (Throttled, Busy) as refusal:
            self.refused("throttled" if isinstance(refusal, Throttled) else "busy")
            return None
        return named

    def end_handshake(self, counted_as: str) -> None:
        """A handshake has succeeded or failed."""
        self._handshakes.give_back(counted_as, 1)

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


def _take(budget: FairBudget, counted_as: str) -> None:
    """Count one connection. Raises Busy and Throttled as the budget does; what has no limit of its own is never
    throttled."""
    if counted_as:
        budget.take(counted_as, 1)
    elif budget.used < budget.total:
        budget.add(counted_as, 1)
    else:
        raise Busy("Too many connections are open.")
