"""posthog, with default settings and a callback for batches that could not be sent."""

from importlib import import_module

from posthog import Posthog
from record import reported


class Adapter:
    """One client for the whole program."""

    actor = ""

    def __init__(self, url: str, key: str) -> None:
        self._client = Posthog(key, host=url, on_error=lambda _error, batch: reported(len(batch)))

    def emit(self, marker: str, text: str = "") -> bool:
        """Queue an event; None means that it was dropped."""
        properties = {"marker": marker, "text": text}
        return self._client.capture("action run completed", distinct_id="program", properties=properties) is not None

    def flush(self, timeout_s: float) -> None:
        """Wait until all was tried; it takes no time limit."""
        self._client.flush()

    def celery(self) -> None:
        """Its integration flushes when a worker process shuts down."""
        module = import_module("posthog.integrations.celery")
        module.PosthogCeleryIntegration(client=self._client).instrument()
