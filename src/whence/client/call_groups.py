"""The calls of a client that are grouped under a name, such as `whence.webhooks.list()`."""

from collections.abc import AsyncIterator, Iterator

from whence.client.alert_rules import AlertRules, AsyncAlertRules
from whence.client.log_tree import AsyncLogTree, LogTree
from whence.client.removals import AsyncErasures, AsyncHolds, AsyncRetention, Erasures, Holds, Retention
from whence.client.requests import ApiRequest
from whence.client.responses import ApiResponse
from whence.client.views import AsyncViews, Views
from whence.client.webhooks import AsyncWebhooks, Webhooks

__all__ = ["AsyncCallGroups", "CallGroups"]


class CallGroups:
    """Groups of calls. Each is a request, which `send` sends, and a parser."""

    def send(self, request: ApiRequest) -> ApiResponse:
        """Send a request; see `Whence.send`."""
        raise NotImplementedError

    def stream(self, request: ApiRequest) -> Iterator[bytes]:
        """Send a request for a long response; see `Whence.stream`."""
        raise NotImplementedError

    @property
    def alert_rules(self) -> AlertRules:
        """The alert rules of the tenant, for a key with the scope admin."""
        return AlertRules(self.send)

    @property
    def erasures(self) -> Erasures:
        """The erasures of payloads, for a key with the scope admin."""
        return Erasures(self.send)

    @property
    def holds(self) -> Holds:
        """The legal holds of the tenant, for a key with the scope admin."""
        return Holds(self.send)

    @property
    def retention(self) -> Retention:
        """How long the tenant keeps its events, for a key with the scope admin."""
        return Retention(self.send)

    @property
    def tree(self) -> LogTree:
        """What proves many events at once, for a credential that may read every event."""
        return LogTree(self.send, self.stream)

    @property
    def views(self) -> Views:
        """The saved views of the console, for a credential that may read every event."""
        return Views(self.send)

    @property
    def webhooks(self) -> Webhooks:
        """The webhooks of the tenant, for a key with the scope admin."""
        return Webhooks(self.send)


class AsyncCallGroups:
    """As `CallGroups`, for asyncio."""

    async def send(self, request: ApiRequest) -> ApiResponse:
        """Send a request; see `AsyncWhence.send`."""
        raise NotImplementedError

    def stream(self, request: ApiRequest) -> AsyncIterator[bytes]:
        """Send a request for a long response; see `AsyncWhence.stream`."""
        raise NotImplementedError

    @property
    def alert_rules(self) -> AsyncAlertRules:
        """As `Whence.alert_rules`."""
        return AsyncAlertRules(self.send)

    @property
    def erasures(self) -> AsyncErasures:
        """As `Whence.erasures`."""
        return AsyncErasures(self.send)

    @property
    def holds(self) -> AsyncHolds:
        """As `Whence.holds`."""
        return AsyncHolds(self.send)

    @property
    def retention(self) -> AsyncRetention:
        """As `Whence.retention`."""
        return AsyncRetention(self.send)

    @property
    def tree(self) -> AsyncLogTree:
        """As `Whence.tree`."""
        return AsyncLogTree(self.send, self.stream)

    @property
    def views(self) -> AsyncViews:
        """As `Whence.views`."""
        return AsyncViews(self.send)

    @property
    def webhooks(self) -> AsyncWebhooks:
        """As `Whence.webhooks`."""
        return AsyncWebhooks(self.send)
