"""sentry-sdk, each event a message. Its atexit and Celery integrations are on by default."""

import sentry_sdk


class Adapter:
    """The library is one client for the whole program."""

    actor = ""

    def __init__(self, url: str, key: str) -> None:
        sentry_sdk.init(dsn=url.replace("://", f"://{key}@") + "/1")

    def emit(self, marker: str, text: str = "") -> bool:
        """Queue a message. It returns an id also when the queue is full."""
        return sentry_sdk.capture_message(marker + text) is not None

    def flush(self, timeout_s: float) -> None:
        """Wait until all is sent."""
        sentry_sdk.flush(timeout_s)

    def celery(self) -> None:
        """Its integration finds Celery by itself."""
