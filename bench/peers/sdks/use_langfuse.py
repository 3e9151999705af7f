"""langfuse, with default settings: each event is an observation of type EVENT."""

from langfuse import Langfuse


class Adapter:
    """One client for the whole program."""

    actor = ""

    def __init__(self, url: str, key: str) -> None:
        self._client = Langfuse(public_key=key, secret_key=key, base_url=url)

    def emit(self, marker: str, text: str = "") -> bool:
        """Record an event. It returns an object also when the queue is full."""
        self._client.create_event(name=marker, metadata={"text": text})
        return True

    def flush(self, timeout_s: float) -> None:
        """Wait until all was tried; it takes no time limit."""
        self._client.flush()

    def celery(self) -> None:
        """It has no integration of its own."""
