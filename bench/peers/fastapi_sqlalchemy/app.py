"""The six read routes, single and batch ingest, as a good engineer writes them in an afternoon.

FastAPI, pydantic, SQLAlchemy 2 and SQLite: one table, an index for each question, a session for each request, WAL and
`synchronous=FULL` (so that a 201 is as durable as Whence's), `count(*)` for totals, GROUP BY for statistics.
"""

import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from sqlalchemy import JSON, ColumnElement, DateTime, Index, String, case, create_engine, event, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

ResourceType = Literal[
    "action_run", "agent_spec", "artifact", "automation", "automation_run", "chat_thread", "connection", "decision",
    "flashboard", "inbound_message", "template",
]  # fmt: skip
SUCCESS = ("completed", "approved", "delivered", "verified", "sent")
FAILURE = ("failed", "errored", "crashed", "denied", "expired", "missed", "timed_out")

engine = create_engine(f"sqlite:///{os.environ['PEER_DATABASE']}", pool_size=20, connect_args={"timeout": 60})
SessionLocal = sessionmaker(engine, expire_on_commit=False)
KEYS = {os.environ["PEER_KEY"]: os.environ["PEER_TENANT"]}


@event.listens_for(engine, "connect")
def set_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours, below
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -65536")


@event.listens_for(engine, "begin")
def begin(connection: Any) -> None:
    """A writer takes its lock at once; else two that read first would deadlock."""
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


class Base(DeclarativeBase):
    pass


class EventRow(Base):
    __tablename__ = "events"

    position: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(64))
    id: Mapped[str] = mapped_column(String(36))
    event_type: Mapped[str] = mapped_column(String(128))
    actor_type: Mapped[str] = mapped_column(String(64))
    actor_id: Mapped[str] = mapped_column(String(255))
    resource_type: Mapped[str] = mapped_column(String(64))
    resource_id: Mapped[str] = mapped_column(String(36))
    correlation_id: Mapped[str] = mapped_column(String(255))
    causation_id: Mapped[str | None] = mapped_column(String(255))
    outcome: Mapped[str] = mapped_column(String(8))
    occurred_at: Mapped[datetime] = mapped_column(DateTime)
    recorded_at: Mapped[datetime] = mapped_column(DateTime)
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)

    __table_args__ = (
        Index("events_id", "tenant_id", "id", unique=True),
        Index("events_time", "tenant_id", "occurred_at"),
        Index("events_type", "tenant_id", "event_type", "occurred_at"),
        Index("events_actor", "tenant_id", "actor_id", "occurred_at"),
        Index("events_actors", "tenant_id", "actor_type", "actor_id", "occurred_at", "outcome"),
        Index("events_correlation", "tenant_id", "correlation_id", "occurred_at"),
        Index("events_resource", "tenant_id", "resource_type", "resource_id", "occurred_at"),
    )


Base.metadata.create_all(engine)


class Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True)


class EventIn(Model):
    model_config = ConfigDict(extra="forbid")

    id: uuid.UUID = Field(default_factory=uuid.uuid4)
    event_type: str = Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,4}$", max_length=128)
    actor_type: str = Field(max_length=64)
    actor_id: str = Field(min_length=1, max_length=255)
    resource_type: ResourceType
    resource_id: uuid.UUID
    occurred_at: AwareDatetime
    payload: dict[str, Any] = {}
    correlation_id: str | None = Field(default=None, min_length=1, max_length=255)
    causation_id: str | None = Field(default=None, min_length=1, max_length=255)


class EventOut(Model):
    id: str
    tenant_id: str
    event_type: str
    actor_type: str
    actor_id: str
    resource_type: str
    resource_id: str
    correlation_id: str
    causation_id: str | None
    payload: dict[str, Any]
    occurred_at: Annotated[datetime, AfterValidator(lambda time: time.replace(tzinfo=UTC))]


class PageOut(Model):
    events: list[EventOut]
    total: int
    limit: int
    offset: int
    has_next: bool


class KeyCount(Model):
    key: str
    count: int


class CountsOut(Model):
    total: int
    by_event_type: list[KeyCount]
    by_resource_type: list[KeyCount]
    by_actor_type: list[KeyCount]


class ActorOut(Model):
    actor_type: str
    actor_id: str
    total: int
    successes: int
    failures: int


class ActorsOut(Model):
    actors: list[ActorOut]


class BatchResult(Model):
    index: int
    id: str
    status: int


class BatchOut(Model):
    results: list[BatchResult]


app = FastAPI()


def tenant_of(x_api_key: Annotated[str, Header()]) -> str:
    if x_api_key not in KEYS:
        raise HTTPException(401, "The credential does not hold.")
    return KEYS[x_api_key]


def reading() -> Iterator[Session]:
    with SessionLocal() as session:
        yield session


def writing() -> Iterator[Session]:
    with SessionLocal(bind=engine.execution_options(writes=True)) as session:
        yield session


Tenant = Annotated[str, Depends(tenant_of)]
Reading = Annotated[Session, Depends(reading)]
Writing = Annotated[Session, Depends(writing)]
Limit = Annotated[int, Query(ge=1, le=100)]
Offset = Annotated[int, Query(ge=0)]


def to_utc(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(tzinfo=None)


def outcome_of(event_type: str) -> str:
    last = event_type.rsplit(".", 1)[-1]
    return "success" if last.endswith(SUCCESS) else "failure" if last.endswith(FAILURE) else "none"


def row_of(tenant: str, new: EventIn, now: datetime) -> dict[str, Any]:
    row = new.model_dump()
    row.update(
        tenant_id=tenant,
        id=str(new.id),
        resource_id=str(new.resource_id),
        correlation_id=new.correlation_id or str(new.id),
        occurred_at=to_utc(new.occurred_at),
        recorded_at=now,
        outcome=outcome_of(new.event_type),
    )
    return row


def same(stored: EventRow, row: dict[str, Any]) -> bool:
    return all(getattr(stored, name) == value for name, value in row.items() if name != "recorded_at")


@app.post("/api/v1/events", status_code=201)
def create_event(new: EventIn, response: Response, tenant: Tenant, session: Writing) -> EventOut:
    row = row_of(tenant, new, to_utc(datetime.now(UTC)))
    added = session.execute(insert(EventRow).values(row).on_conflict_do_nothing().returning(EventRow)).scalar()
    if added is None:
        added = session.execute(by_id(tenant, row["id"])).scalar_one()
        if not same(added, row):
            raise HTTPException(409, "The id belongs to another event.")
        response.status_code = 200
    session.commit()
    return EventOut.model_validate(added)


@app.post("/api/v1/events/batch", status_code=201)
def create_batch(batch: Annotated[list[EventIn], Field(min_length=1, max_length=1000)], tenant: Tenant,
                 session: Writing) -> BatchOut:  # fmt: skip
    now = to_utc(datetime.now(UTC))
    rows = [row_of(tenant, new, now) for new in batch]
    ids = [row["id"] for row in rows]
    known = {
        row.id: row
        for row in session.scalars(select(EventRow).where(EventRow.tenant_id == tenant, EventRow.id.in_(ids)))
    }
    statuses: list[int] = []
    fresh: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["id"] in known:
            statuses.append(200 if same(known[row["id"]], row) else 409)
        else:
            statuses.append(201 if row["id"] not in fresh else 200 if fresh[row["id"]] == row else 409)
            fresh.setdefault(row["id"], row)
    if fresh:
        session.execute(insert(EventRow), list(fresh.values()))
    session.commit()
    return BatchOut(
        results=[
            BatchResult(index=index, id=row["id"], status=status)
            for index, (row, status) in enumerate(zip(rows, statuses, strict=True))
        ]
    )


def by_id(tenant: str, event_id: str) -> Any:
    return select(EventRow).where(EventRow.tenant_id == tenant, EventRow.id == event_id)


def page(session: Session, where: list[ColumnElement[bool]], limit: int, offset: int, *, oldest: bool = False) -> Any:
    order = [EventRow.occurred_at.desc(), EventRow.position.desc()]
    if oldest:
        order = [EventRow.occurred_at.asc(), EventRow.position.asc()]
    total = session.scalar(select(func.count()).select_from(EventRow).where(*where)) or 0
    rows = session.scalars(select(EventRow).where(*where).order_by(*order).limit(limit).offset(offset)).all()
    return PageOut(
        events=[EventOut.model_validate(row) for row in rows],
        total=total,
        limit=limit,
        offset=offset,
        has_next=offset + len(rows) < total,
    )


def within(tenant: str, since: datetime | None, until: datetime | None) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = [EventRow.tenant_id == tenant]
    if since is not None:
        where.append(EventRow.occurred_at >= to_utc(since))
    if until is not None:
        where.append(EventRow.occurred_at < to_utc(until))
    return where


@app.get("/api/v1/events")
def list_events(
    tenant: Tenant,
    session: Reading,
    event_type: str | None = None,
    resource_type: ResourceType | None = None,
    resource_id: uuid.UUID | None = None,
    actor_id: str | None = None,
    since: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> PageOut:
    where = within(tenant, since, until)
    wanted = {
        EventRow.event_type: event_type,
        EventRow.resource_type: resource_type,
        EventRow.resource_id: None if resource_id is None else str(resource_id),
        EventRow.actor_id: actor_id,
    }
    where += [column == value for column, value in wanted.items() if value is not None]
    return page(session, where, limit, offset)


@app.get("/api/v1/events/aggregate")
def aggregate(
    tenant: Tenant,
    session: Reading,
    since: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to")] = None,
) -> CountsOut:
    where = within(tenant, since, until)

    def by(column: Any) -> list[KeyCount]:
        count = func.count().label("count")
        rows = session.execute(select(column, count).where(*where).group_by(column).order_by(count.desc(), column))
        return [KeyCount(key=key, count=number) for key, number in rows]

    by_type = by(EventRow.event_type)
    return CountsOut(
        total=sum(item.count for item in by_type),
        by_event_type=by_type,
        by_resource_type=by(EventRow.resource_type),
        by_actor_type=by(EventRow.actor_type),
    )


@app.get("/api/v1/events/stats/by-actor")
def stats_by_actor(
    tenant: Tenant,
    session: Reading,
    since: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to")] = None,
) -> ActorsOut:
    def having(outcome: str) -> Any:
        return func.sum(case((EventRow.outcome == outcome, 1), else_=0))

    total = func.count().label("total")
    names = (EventRow.actor_type, EventRow.actor_id)
    rows = session.execute(
        select(*names, total, having("success").label("successes"), having("failure").label("failures"))
        .where(*within(tenant, since, until))
        .group_by(*names)
        .order_by(total.desc(), *names)
    )
    return ActorsOut(actors=[ActorOut.model_validate(row) for row in rows])


@app.get("/api/v1/events/correlation/{correlation_id}")
def by_correlation(
    correlation_id: str, tenant: Tenant, session: Reading, limit: Limit = 100, offset: Offset = 0
) -> PageOut:
    where = [EventRow.tenant_id == tenant, EventRow.correlation_id == correlation_id]
    return page(session, where, limit, offset, oldest=True)


@app.get("/api/v1/events/resource/{resource_type}/{resource_id}")
def by_resource(
    resource_type: ResourceType,
    resource_id: uuid.UUID,
    tenant: Tenant,
    session: Reading,
    limit: Limit = 100,
    offset: Offset = 0,
) -> PageOut:
    where = [
        EventRow.tenant_id == tenant,
        EventRow.resource_type == resource_type,
        EventRow.resource_id == str(resource_id),
    ]
    return page(session, where, limit, offset)


@app.get("/api/v1/events/{event_id}")
def get_event(event_id: uuid.UUID, tenant: Tenant, session: Reading) -> EventOut:
    row = session.execute(by_id(tenant, str(event_id))).scalar()
    if row is None:
        raise HTTPException(404, "There is no event with this id.")
    return EventOut.model_validate(row)
