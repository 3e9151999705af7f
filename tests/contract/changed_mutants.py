"""Mutants of waiting for a log to grow."""

from typing import Any

import pytest

from tests.contract.faults import breaks
from tests.contract.model import ModelStore
from whence.storage import head_notifier


class EqualIsLonger(ModelStore):
    def is_longer(self, tenant: str, position: int) -> bool:
        return len(self.logs.get(tenant, [])) >= position


class AnyTenantWakes(ModelStore):
    def is_longer(self, _tenant: str, position: int) -> bool:
        return any(len(log) > position for log in self.logs.values())


class LooksOnce(ModelStore):
    async def changed(self, tenant: str, position: int, timeout_s: float) -> bool:
        return await super().changed(tenant, position, 0)


@breaks("sqlite", "postgres")
def nobody_is_woken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(head_notifier.HeadNotifier, "wake", lambda _self, _tenant: None)


@breaks("sqlite", "postgres")
def a_wakeup_is_taken_for_growth(patch: pytest.MonkeyPatch) -> None:
    """Every woken task reports that the log grew past its position, independent of its size."""
    real = head_notifier._Watch.resolve

    def resolve(self: Any, _size: int) -> None:
        real(self, 1 << 40)

    patch.setattr(head_notifier._Watch, "resolve", resolve)


@breaks("sqlite", "postgres")
def watching_goes_on(patch: pytest.MonkeyPatch) -> None:
    """The task that watches a log keeps running when no task waits for the log any more."""
    notifier = head_notifier.HeadNotifier
    patch.setattr(notifier, "_end_if_unused", lambda self, tenant, _watch: self._watches.pop(tenant, None))
