"""Which events a query means: the part of the model that reads filters."""

import json
import re
from typing import Any

from whence.events import Event, Query


class Literal(str):
    """A number as it stands in a payload."""


class Filters:
    """Each filter is a method of its own, so that a mutant can override it."""

    def matches(self, event: Event, query: Query) -> bool:
        return (
            self.has_type(event, query)
            and self.is_within(event, query)
            and self.is_named(event, query)
            and not self.is_excluded(event, query)
            and self.has_payload_values(event, query.payload_values)
            and all(
                self.is_one_of(field, value, getattr(query, field + "s"))
                for field, value in (
                    ("resource_type", event.resource_type),
                    ("resource_id", event.resource_id),
                    ("actor_id", event.actor_id),
                    ("actor_type", event.actor_type),
                    ("outcome", event.outcome),
                    ("correlation_id", event.correlation_id),
                    ("causation_id", event.causation_id),
                )
            )
        )

    def is_one_of(self, field: str, value: str | None, wanted: tuple[str, ...]) -> bool:
        if field in {"actor_id", "correlation_id"}:
            wanted = tuple(spelling for text in wanted for spelling in self.spellings(text))
        return not wanted or value in wanted

    def spellings(self, text: str) -> tuple[str, ...]:
        """A UUID may be stored in lower case, in upper case by earlier releases, or as it is given here."""
        return (text, text.lower(), text.upper()) if is_uuid(text) else (text,)

    def has_type(self, event: Event, query: Query) -> bool:
        if not query.event_types and not query.event_type_prefixes:
            return True
        return event.event_type in query.event_types or event.event_type.startswith(query.event_type_prefixes)

    def is_named(self, event: Event, query: Query) -> bool:
        """Whether the event is of a type, by an actor and about a resource that the query language names."""
        return (
            (not query.type_patterns or any(self.has_pattern(event, one) for one in query.type_patterns))
            and (not query.actors or any(self.is_actor(event, name) for name in query.actors))
            and (not query.resources or any(self.is_resource(event, name) for name in query.resources))
        )

    def has_pattern(self, event: Event, pattern: str) -> bool:
        inner = re.escape(pattern).replace(r"\*", ".+")
        return re.fullmatch(inner, event.event_type) is not None

    def is_actor(self, event: Event, name: str) -> bool:
        actor_type, actor_id = name.split("/", 1)
        return actor_type in ("*", event.actor_type) and (
            not actor_id or self.is_one_of("actor_id", event.actor_id, (actor_id,))
        )

    def is_resource(self, event: Event, name: str) -> bool:
        resource_type, resource_id = name.split("/", 1)
        return resource_type in ("*", event.resource_type) and resource_id in ("", event.resource_id)

    def is_excluded(self, event: Event, query: Query) -> bool:
        return (
            any(self.has_pattern(event, one) for one in query.excluded_event_types)
            or event.resource_type in query.excluded_resource_types
            or event.actor_type in query.excluded_actor_types
            or event.outcome in query.excluded_outcomes
            or any(self.is_actor(event, name) for name in query.excluded_actors)
            or any(self.is_resource(event, name) for name in query.excluded_resources)
            or any(self.has_payload_value(event, *value.split("=", 1)) for value in query.excluded_payload_values)
            or self.is_excluded_link("correlation_id", event.correlation_id, query.excluded_correlation_ids)
            or self.is_excluded_link("causation_id", event.causation_id, query.excluded_causation_ids)
        )

    def is_excluded_link(self, field: str, value: str | None, unwanted: tuple[str, ...]) -> bool:
        return bool(unwanted) and self.is_one_of(field, value, unwanted)

    def has_payload_values(self, event: Event, wanted: tuple[str, ...]) -> bool:
        """Whether the event has, at each path, one of the values that are wanted there."""
        pairs = [value.split("=", 1) for value in wanted]
        return all(any(self.has_payload_value(event, *pair) for pair in pairs if pair[0] == path) for path, _ in pairs)

    def has_payload_value(self, event: Event, path: str, wanted: str) -> bool:
        """Whether a payload has a value at a path, of an object or of any element of an array."""
        if event.payload is None:
            return False
        found: Any = json.loads(event.payload, parse_int=Literal, parse_float=Literal)
        for key in path.split("."):
            found = found.get(key) if isinstance(found, dict) else None
            if found is None and key != path.rsplit(".", maxsplit=1)[-1]:
                return False
        if not isinstance(found, list):
            return self.is_value(event, path, found, wanted)
        return len(found) <= 100 and any(self.is_value(event, path, each, wanted) for each in found)

    def is_value(self, event: Event, path: str, found: Any, wanted: str) -> bool:
        words = {True: "true", False: "false"}
        if isinstance(found, bool):
            return words[found] == wanted
        if found is None:
            return wanted == "null" and self.is_there(event, path)
        return isinstance(found, str) and str(found) == wanted

    def is_there(self, event: Event, path: str) -> bool:
        """Whether the payload has the path at all, with whatever value."""
        found: Any = json.loads(event.payload or b"{}")
        for key in path.split("."):
            if not isinstance(found, dict) or key not in found:
                return False
            found = found[key]
        return True

    def is_within(self, event: Event, query: Query) -> bool:
        return (query.since is None or query.since <= event.occurred_at) and (
            query.until is None or event.occurred_at < query.until
        )

    def may_read(self, event: Event, readable: tuple[str, ...] | None) -> bool:
        return readable is None or event.resource_type in readable


def is_uuid(text: object) -> bool:
    return (
        isinstance(text, str) and re.fullmatch("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text) is not None
    )
