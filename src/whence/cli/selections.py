"""Options that say which events a hold keeps or an erasure is about, as a text of the query language."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from whence.errors import Invalid
from whence.events import split_name
from whence.identities import resource_uuid
from whence.wire.query_language import quoted

__all__ = ["Selection"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Selection:
    """Options that select events. One of them is needed; different ones must all match."""

    flow: Annotated[str | None, Parameter(help="The id of a flow.")] = None
    resource: Annotated[str | None, Parameter(help="A resource, type/id.")] = None
    actor: Annotated[str | None, Parameter(help="An actor, type/id.")] = None
    query: Annotated[
        str | None,
        Parameter(
            name=["--query", "-q"],
            allow_leading_hyphen=True,
            help="Filters as in the console, like 'type:chat_thread.* until:2026-01-01'.",
        ),
    ] = None

    @property
    def is_given(self) -> bool:
        """Whether any of them was passed."""
        return any(each is not None for each in (self.flow, self.resource, self.actor, self.query))

    def text(self) -> str:
        """The events in the query language. Raises Invalid when no option was passed."""
        if not self.is_given:
            raise Invalid.at((), "Say which events: with --flow, --resource, --actor or -q.")
        found = [] if self.flow is None else [f"flow:{quoted(self.flow, literal=True)}"]
        if self.resource is not None:
            type_, id_ = split_name(self.resource)
            found.append(f"resource:{quoted(f'{type_}/{resource_uuid(type_, id_)}' if id_ else type_)}")
        if self.actor is not None:
            found.append(f"actor:{quoted(self.actor)}")
        return " ".join([*found, *([] if self.query is None else [self.query])])
