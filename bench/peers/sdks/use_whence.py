"""Whence, with default settings and a callback for what is refused or lost."""

from importlib import import_module
from typing import Any, ClassVar

from record import reported

from whence import Whence
from whence.client import Lost, Rejected

RESOURCE = "0190a000-0000-7000-8000-000000000001"


class Adapter:
    """One client for the whole program."""

    OPTIONS: ClassVar[dict[str, Any]] = {}

    def __init__(self, url: str, key: str) -> None:
        self._log = Whence(url, key, on_error=self._on_error, **self.OPTIONS)
        self.actor = "program"

    def _on_error(self, error: object) -> None:
        if isinstance(error, Rejected):
            reported(1)
        elif isinstance(error, Lost):
            reported(len(error.events) or 1)

    def emit(self, marker: str, text: str = "") -> bool:
        """Queue an event. Raises an error when it is not accepted."""
        self._log.emit(
            "action_run.completed",
            actor=("service", self.actor),
            resource=("action_run", RESOURCE),
            payload={"marker": marker, "text": text},
        )
        return True

    def flush(self, timeout_s: float) -> None:
        """Wait until all is stored or refused."""
        self._log.flush(timeout_s)

    def celery(self) -> None:
        """As docs/sdk.md says: once in the process that the workers are forked from."""
        import_module("whence.integrations.celery").instrument()
