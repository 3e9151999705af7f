"""Which connections are served, by address."""

import pytest

from tests.unit.mutants import catches, replaced
from whence.api import connections
from whence.api.connections import ConnectionLimits, Purpose
from whence.fairness import FairBudget


def purposes(limits: ConnectionLimits, host: str | None, number: int) -> list[Purpose]:
    return [limits.admit(host).purpose for _ in range(number)]


def first_come_first_served(self: FairBudget, tenant: str, amount: int) -> None:
    """Mutant: one address may have every connection."""
    if self.used + amount > self.total:
        raise connections.Busy("full")
    self.add(tenant, amount)


@catches(replaced(FairBudget, "take", first_come_first_served, "no_shares"))
def test_one_address_leaves_half_to_others() -> None:
    """Of the connections and of the reserve; the rest of its connections are refused with the reason."""
    limits = ConnectionLimits(10)
    assert purposes(limits, "10.0.0.1", 5) == [Purpose.REQUESTS] * 5
    assert purposes(limits, "10.0.0.1", 16) == [Purpose.PROBES] * 16
    refused = limits.admit("10.0.0.1")
    assert (refused.purpose, refused.address_is_full) == (Purpose.NOTHING, True)
    assert limits.admit("10.0.0.2").purpose is Purpose.REQUESTS


def test_the_last_connections_are_for_probes() -> None:
    """When many addresses have used up the rest, and not one of them alone is to blame."""
    limits = ConnectionLimits(4)
    for number in range(4):
        assert limits.admit(f"10.0.0.{number}").purpose is Purpose.REQUESTS
    reserved = limits.admit("10.0.0.9")
    assert (reserved.purpose, reserved.address_is_full) == (Purpose.PROBES, False)
    for number in range(31):
        assert limits.admit(f"10.0.1.{number}").purpose is Purpose.PROBES
    assert limits.admit("10.0.0.10").purpose is Purpose.NOTHING


@catches(replaced(ConnectionLimits, "release", lambda self, admitted: None, "connections_never_end"))
def test_an_ended_connection_makes_room() -> None:
    limits = ConnectionLimits(2)
    for _ in range(100):
        admitted = limits.admit("10.0.0.1")
        assert admitted.purpose is Purpose.REQUESTS
        limits.release(admitted)


@catches(replaced(ConnectionLimits, "_counted_as", lambda self, host: host or "", "every_address_is_on_its_own"))
def test_a_network_of_ipv6_is_one_address() -> None:
    """And an IPv4 address is the same in both forms."""
    limits = ConnectionLimits(4)
    assert purposes(limits, "2001:db8::1", 2) == [Purpose.REQUESTS] * 2
    assert limits.admit("2001:db8::2%eth0").purpose is Purpose.PROBES
    assert limits.admit("2001:db8:0:1::2").purpose is Purpose.REQUESTS
    limits = ConnectionLimits(4)
    assert purposes(limits, "10.0.0.1", 2) == [Purpose.REQUESTS] * 2
    assert limits.admit("::ffff:10.0.0.1").purpose is Purpose.PROBES


@pytest.mark.parametrize("host", ["10.0.0.7", "::ffff:10.0.0.7", "fd00::5", None])
def test_trusted_proxies_and_local_sockets_may_have_all(host: str | None) -> None:
    """But not more than there are."""
    limits = ConnectionLimits(4, ["10.0.0.0/24", "fd00::5"])
    assert purposes(limits, host, 5) == [Purpose.REQUESTS] * 4 + [Purpose.PROBES]
    refused = [limits.admit(host) for _ in range(40)][-1]
    assert (refused.purpose, refused.address_is_full) == (Purpose.NOTHING, False)


def test_one_connection_is_enough() -> None:
    assert ConnectionLimits(1).admit("10.0.0.1").purpose is Purpose.REQUESTS
