"""Delivers events to webhooks.

    log -- read_feed, after the place --> deliveries, with the place --> attempts, each signed and sent --> recorded

The place of a webhook moves in the transaction that adds its deliveries, and a delivery is finished only after the
answer. So a crash at any moment repeats an attempt and skips no event. The process that has the lease is the only one
that writes places: what a request asks for is in the definition.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Coroutine, Mapping
from typing import Any

import msgspec
import structlog

from whence.errors import Conflict, Invalid, PositionGone, WhenceError
from whence.events import Event, Query, Viewer
from whence.fairness import FairQueue
from whence.followers import Definitions, MakersKeys
from whence.outbound import ANSWER_KEPT, Answer, Sender
from whence.sealing import Sealer
from whence.sentences import Grammar, load_grammar
from whence.storage.base import Store, Write, refusal_of
from whence.storage.followers import (
    DELIVERED,
    FAILED,
    PENDING,
    Attempt,
    Definition,
    Delivery,
    DeliveryFilter,
    Place,
)
from whence.webhooks import signed_headers, wait_s
from whence.wire.filters import selects
from whence.wire.ids import derived_uuid
from whence.wire.log_events import log_event
from whence.wire.times import format_time
from whence.wire.webhook_messages import encode_message
from whence.wire.webhooks import WEBHOOK, Disabled, Gap, Progress, Webhook, place_name

__all__ = [
    "CANNOT_SIGN",
    "FAILING_MAX_S",
    "KEY_GONE",
    "WebhookDelivery",
    "delivery_after",
    "open_secrets",
    "secret_bound",
    "send_event",
]

FAILING_MAX_S = 5 * 86_400
"""A webhook all of whose attempts failed for so long is switched off."""

KEY_GONE = "The API key of this webhook is revoked, expired, or may read no events any more."
"""Why a webhook stands still. Another key can take it over."""

CANNOT_SIGN = "The secret of this webhook cannot be opened with the server's store secret. Make a new one."
"""Why a webhook stands still."""

PARALLEL = 8
"""Requests to one webhook at a time; while its attempts fail, a single one."""

TENANT_PARALLEL, PROCESS_PARALLEL = 32, 256
"""Requests to the webhooks of a tenant at a time, and to all of them."""

PENDING_MAX = 10_000
"""While a webhook has so many pending deliveries, no more of the log is read for it."""

_PART = 500
_READ_EVERY_S = 0.05
_SAVE_EVERY_S = 1.0
_IDLE_S = 30.0
_STILL_S = 5.0
_AGAIN_S = 1.0
_RECOUNT_FULL_S, _RECOUNT_S = 10.0, 600.0
_RETRY_AFTER_MAX_S = 3_600.0
_PRUNE_EVERY_S = 3_600.0
_PRUNE_PART = 500
_KEPT_S = 30 * 86_400
_WAITING_MAX = 100_000
_ROUND_S = 0.003

_GONE = 410
_RETRY_AFTER = (429, 503)
_US = 1_000_000

_log = structlog.get_logger("whence.webhooks")


class WebhookDelivery:
    """Delivers to the webhooks of every tenant; see `whence.followers.Work`."""

    kind = WEBHOOK

    def __init__(
        self, store: Store, sealer: Sealer, sender: Sender, *, grammar: Grammar | None = None, times: float = 1.0
    ) -> None:
        """`sealer` opens the secrets. All waits of the schedule are multiplied by `times`, for tests."""
        self.store = store
        self.sealer = sealer
        self.sender = sender
        self.grammar = grammar or load_grammar()
        self.times = times
        self.sending = FairQueue(PROCESS_PARALLEL, wait_s=_IDLE_S * 120, waiting_max=_WAITING_MAX)
        self._starting = FairQueue(1, brief=True, wait_s=_IDLE_S * 120, waiting_max=_WAITING_MAX)
        self.reading = FairQueue(max(1, store.reads_at_once // 2), wait_s=_IDLE_S * 120, waiting_max=_WAITING_MAX)
        # A hundred webhooks add a part at the same time. In one commit of the store, events would wait for all of them.
        self.adding = FairQueue(1, brief=True, wait_s=_IDLE_S * 120, waiting_max=_WAITING_MAX)
        self.keys = MakersKeys(store)
        self._following = 0

    async def turn(self, tenant: str) -> None:
        """Wait until a request of this tenant may begin: one in a round of the event loop, and fewer while its rounds
        are long, since a server of one process answers requests on the same loop."""
        async with self._starting.place(tenant):
            began = time.perf_counter()
            await asyncio.sleep(0)
            round_s = time.perf_counter() - began
            if round_s > _ROUND_S:
                await asyncio.sleep(round_s)

    async def follow(self, tenant: str, definitions: Definitions) -> None:
        """Deliver to the webhooks of a tenant until cancelled."""
        self._following += 1
        running = _TenantRun(self, tenant, definitions)
        try:
            await running.run()
        finally:
            await running.close()
            self._following -= 1
            if not self._following:
                await self.sender.close()  # what is kept alive for nobody


class _TenantRun:
    """The webhooks of one tenant, each in a task of its own."""

    def __init__(self, work: WebhookDelivery, tenant: str, definitions: Definitions) -> None:
        self.work = work
        self.tenant = tenant
        self.definitions = definitions
        self.size = 0
        self.slots = asyncio.Semaphore(TENANT_PARALLEL)
        self._endpoints: dict[str, tuple[_Endpoint, asyncio.Task[None]]] = {}
        self._others: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        self.size = (await self.work.store.head(self.tenant)).size
        self._start(self._watch())
        kept = {place_name(each.id) for each in self.definitions.current}
        for place in await self.work.store.followers.list_places(self.tenant):
            if place.name.startswith(f"{WEBHOOK}:") and place.name not in kept:
                self._start(self._forget(place.name.removeprefix(f"{WEBHOOK}:")))
        while True:
            self._update()
            await self.definitions.wait(_IDLE_S)

    async def close(self) -> None:
        """End every task."""
        tasks = [*self._others, *(task for _, task in self._endpoints.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _update(self) -> None:
        """Start, change and end the tasks, as the definitions are now."""
        current = {each.id: each for each in self.definitions.current}
        for webhook_id in self._endpoints.keys() - current.keys():
            self._endpoints.pop(webhook_id)[1].cancel()
            self.definitions.lags.pop(place_name(webhook_id), None)
            self._start(self._forget(webhook_id))
        for webhook_id, definition in current.items():
            if webhook_id in self._endpoints:
                self._endpoints[webhook_id][0].replace(definition)
            else:
                endpoint = _Endpoint(self, definition)
                self._endpoints[webhook_id] = endpoint, asyncio.create_task(self._supervise(endpoint))

    async def _supervise(self, endpoint: "_Endpoint") -> None:
        """Run a webhook, and begin again after an error: it harms no other."""
        while True:
            try:
                await endpoint.run()
            except WhenceError as error:
                _log.warning("webhook_again", webhook=endpoint.id, error=str(error))
            except Exception as error:
                _log.error("webhook_failed", webhook=endpoint.id, error=type(error).__name__, exc_info=True)
            await asyncio.sleep(_AGAIN_S)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    async def _watch(self) -> None:
        """Wake the webhooks when the log has grown."""
        while True:
            try:
                if await self.work.store.changed(self.tenant, self.size, _IDLE_S):
                    self.size = max(self.size, (await self.work.store.head(self.tenant)).size)
                    for endpoint, _ in self._endpoints.values():
                        endpoint.wake()
                    await asyncio.sleep(_READ_EVERY_S)
            except WhenceError:
                await asyncio.sleep(_AGAIN_S)

    async def _forget(self, webhook_id: str) -> None:
        """Delete what a webhook that is no more has left."""
        followers = self.work.store.followers
        with contextlib.suppress(WhenceError):
            if await followers.get_definition(self.tenant, WEBHOOK, webhook_id) is not None:
                return
            while True:
                deleted = await followers.delete_deliveries(self.tenant, webhook_id, None, _PRUNE_PART)
                if deleted < _PRUNE_PART:
                    break
            await followers.delete_place(self.tenant, place_name(webhook_id))


class _Endpoint:
    """One webhook: reads the log for it, and sends what is due."""

    def __init__(self, run: _TenantRun, definition: Definition) -> None:
        self._run = run
        self._work = run.work
        self._followers = run.work.store.followers
        self.id = definition.id
        self._tenant = definition.tenant
        self._name = place_name(definition.id)
        self._definition = definition
        self._hook = msgspec.json.decode(definition.body, type=Webhook)
        self._wake = asyncio.Event()
        self._sending: dict[int, asyncio.Task[None]] = {}
        self._failures = 0  # in a row
        self._paused_until = self._saved_at = self._counted_at = 0.0
        self._prune_at = time.monotonic() + _PRUNE_EVERY_S / 60
        self._unsaved = False

    def wake(self) -> None:
        """Look again for what is to be done."""
        self._wake.set()

    def replace(self, definition: Definition) -> None:
        """Go on by a newer definition."""
        if definition.version > self._definition.version:
            self._hook = msgspec.json.decode(definition.body, type=Webhook)
            self._definition = definition
            self._failures, self._paused_until = 0, 0.0
            self.wake()

    async def run(self) -> None:
        """Deliver until cancelled."""
        await self._begin()
        try:
            while True:
                self._wake.clear()
                wait_s = await self._step()
                self._run.definitions.lags[self._name] = max(0, self._run.size - self._position)
                if not wait_s:
                    await asyncio.sleep(0)
                    continue
                if self._unsaved:
                    wait_s = min(wait_s, max(0.0, self._saved_at + _SAVE_EVERY_S - time.monotonic()))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
        finally:
            for task in list(self._sending.values()):
                task.cancel()
            await asyncio.gather(*self._sending.values(), return_exceptions=True)

    async def _begin(self) -> None:
        """Find out where it was."""
        place = await self._followers.get_place(self._tenant, self._name)
        self._sending = {}
        self._position = self._hook.begin_after if place is None else place.position
        self._progress = Progress() if place is None else msgspec.json.decode(place.state or b"{}", type=Progress)
        self._unsaved = place is None
        await self._count()
        if self._position > self._run.size:  # the log has grown since, or it is an older one that was restored
            self._run.size = (await self._work.store.head(self._tenant)).size
            if self._position > self._run.size:
                await self._resume(self._run.size)

    async def _step(self) -> float:
        """Do a part of what is to be done. Returns how many seconds to wait before the next."""
        hook = self._hook
        if not hook.enabled:
            if hook.disabled is not None and not hook.disabled.announced:
                await self._announce(hook.disabled)
            return _IDLE_S
        viewer = await self._viewer()
        if viewer is None or not self._secrets():
            return _STILL_S
        if hook.rewind is not None and hook.rewind.asked_at > self._progress.rewound_at:
            self._position = min(self._position, hook.rewind.after)
            self._note(rewound_at=hook.rewind.asked_at)
            await self._save()
        more = await self._read(viewer)
        if self._unsaved and time.monotonic() - self._saved_at >= _SAVE_EVERY_S:
            await self._save()
        wait_s = await (self._send_next() if hook.fifo else self._send_due())
        wait_s = min(wait_s, await self._prune())
        return 0.0 if more else wait_s

    # -------------------------------------------------------------------------------------------------------- reading

    async def _read(self, viewer: Viewer) -> bool:
        """Read a part of the log, and add its deliveries. Returns whether there may be more of it."""
        run = self._run
        if self._position >= run.size:
            return False
        is_full = self._pending >= PENDING_MAX
        if time.monotonic() - self._counted_at >= (_RECOUNT_FULL_S if is_full else _RECOUNT_S):
            await self._count()
        if is_full:
            return False
        try:
            async with self._work.reading.place(self._tenant):
                page = await self._work.store.read_feed(viewer, self._hook.query, self._position, _PART)
        except PositionGone as error:
            await self._resume(int(error.resume_after or 0))
            return True
        except Invalid:  # the log is shorter than it was
            run.size = (await self._work.store.head(self._tenant)).size
            await self._resume(run.size)
            return False
        run.size = max(run.size, page.size)
        positions = [event.position for event in page.events if selects(self._hook.query, event)]
        self._position, self._unsaved = page.read_to, True
        if positions:
            async with self._work.adding.place(self._tenant):
                await self._followers.add_deliveries(self._tenant, self.id, positions, _now(), self._place())
            self._was_saved()
            self._pending += len(positions)
        return page.has_more

    async def _resume(self, position: int) -> None:
        """Go on elsewhere, because the log is not kept where it should be read, and remember that."""
        gap = Gap(self._position, position, _now())
        _log.warning("webhook_gap", webhook=self.id, after=gap.after, resumed_after=gap.resumed_after)
        self._position, self._progress = position, self._progress.with_gap(gap)
        await self._save()

    async def _count(self) -> None:
        counts = await self._followers.count_deliveries(self._tenant, self.id)
        self._pending, self._counted_at = counts.get(PENDING, 0), time.monotonic()

    def _place(self) -> Place:
        return Place(self._name, self._position, msgspec.json.encode(self._progress))

    async def _save(self) -> None:
        await self._followers.save_place(self._tenant, self._place())
        self._was_saved()

    def _was_saved(self) -> None:
        self._unsaved, self._saved_at = False, time.monotonic()

    def _note(self, **changes: int | None) -> None:
        """Change what is remembered. It is saved soon."""
        self._progress = msgspec.structs.replace(self._progress, **changes)
        self._unsaved = True

    async def _prune(self) -> float:
        """Delete a part of what was finished long ago. Returns in how many seconds to go on."""
        wait_s = self._prune_at - time.monotonic()
        if wait_s > 0:
            return wait_s
        before = _now() - _KEPT_S * _US
        deleted = await self._followers.delete_deliveries(self._tenant, self.id, before, _PRUNE_PART)
        wait_s = 1.0 if deleted >= _PRUNE_PART else _PRUNE_EVERY_S
        self._prune_at = time.monotonic() + wait_s
        return wait_s

    # -------------------------------------------------------------------------------------------------------- sending

    async def _send_due(self) -> float:
        """Start sending what is due, as far as there is room. Returns in how many seconds more is due."""
        room = (1 if self._failures else PARALLEL) - len(self._sending)
        if room <= 0:
            return _IDLE_S  # the end of an attempt wakes
        if (pause_s := self._paused_until - time.monotonic()) > 0:
            return pause_s
        known = set(self._sending)  # what ends during the next line may still be among the due
        due = await self._followers.due_deliveries(self._tenant, self.id, _now(), len(known) + room)
        fresh = [delivery for delivery in due if delivery.position not in known][:room]
        for delivery in fresh:
            self._start(delivery)
        if len(fresh) == room:
            return _IDLE_S
        if self._sending:
            return _AGAIN_S  # the next one that is due may be one of these
        return _seconds_until(await self._followers.next_due(self._tenant, self.id))

    async def _send_next(self) -> float:
        """Start sending the first pending delivery, if it is due. The next follows only when that is finished."""
        if self._sending:
            return _IDLE_S
        if (pause_s := self._paused_until - time.monotonic()) > 0:
            return pause_s
        first = await self._followers.list_deliveries(self._tenant, DeliveryFilter(self.id, states=(PENDING,)), limit=1)
        if not first:
            return _IDLE_S
        if first[0].due_at > _now():
            return _seconds_until(first[0].due_at)
        self._start(first[0])
        return _IDLE_S

    def _start(self, delivery: Delivery) -> None:
        self._sending[delivery.position] = asyncio.create_task(self._deliver(delivery))

    async def _deliver(self, delivery: Delivery) -> None:
        """Make one attempt, and record it. Without leave to send, the delivery stays as it is."""
        try:
            async with self._run.slots, self._work.sending.place(self._tenant):
                await self._work.turn(self._tenant)
                viewer = await self._viewer()
                if viewer is None or not self._hook.enabled:
                    return
                began = _now()
                event = await self._event_at(viewer, delivery.position)
                if event is None:
                    answer = Answer(error="The event is no longer kept, or may no longer be read with this key.")
                    after = msgspec.structs.replace(delivery_after(delivery, answer, _now(), 0.0), state=FAILED)
                    await self._record(after, answer, began)
                    return
                answer = await self._send(event, viewer)
                jitter = random.random()  # noqa: S311  (no secret)
                after = delivery_after(delivery, answer, _now(), jitter, self._work.times)
                await self._record(after, answer, began)
                await self._judge(after, answer, began)
        except WhenceError as error:
            _log.warning("webhook_attempt_undone", webhook=self.id, error=str(error))
            await asyncio.sleep(_AGAIN_S)
        finally:
            self._sending.pop(delivery.position, None)
            self.wake()

    async def _event_at(self, viewer: Viewer, position: int) -> Event | None:
        """The event at a position, as it is in the log now: what was erased is not sent again."""
        with contextlib.suppress(PositionGone, Invalid):
            page = await self._work.store.read_feed(viewer, Query(), position - 1, 1)
            if page.events and page.events[0].position == position:
                return page.events[0]
        return None

    async def _send(self, event: Event, viewer: Viewer) -> Answer:
        """Send an event once."""
        return await send_event(self._work.sender, self._hook, event, viewer, self._secrets(), self._work.grammar)

    async def _record(self, after: Delivery, answer: Answer, began: int) -> None:
        """Record an attempt, however long the store takes: what was answered should not be sent again."""
        attempt = Attempt(
            webhook_id=self.id,
            position=after.position,
            number=after.attempts_in_all,
            started_at=began,
            duration_ms=answer.duration_ms,
            status=answer.status,
            error=answer.error,
            answer=answer.body[:ANSWER_KEPT],
        )
        while True:
            try:
                await self._followers.record_attempts(self._tenant, [(after, attempt)])
                break
            except WhenceError as error:
                _log.warning("webhook_record_again", webhook=self.id, error=str(error))
                await asyncio.sleep(_AGAIN_S)
        if after.state != PENDING:
            self._pending -= 1

    async def _judge(self, after: Delivery, answer: Answer, began: int) -> None:
        """Draw conclusions about the webhook from the result of an attempt."""
        if after.state == DELIVERED:
            self._failures = 0
            if self._progress.failing_since is not None:
                self._note(failing_since=None)
            return
        self._failures += 1
        if self._progress.failing_since is None:
            self._note(failing_since=began)
        if answer.retry_after_s is not None and answer.status in _RETRY_AFTER:
            self._paused_until = time.monotonic() + min(answer.retry_after_s, _RETRY_AFTER_MAX_S)
        failing_us = _now() - max(self._progress.failing_since or began, self._hook.enabled_at)
        if answer.status == _GONE:
            await self._switch_off("The endpoint answered 410 Gone.")
        elif failing_us >= FAILING_MAX_S * _US * self._work.times:
            await self._switch_off("Every attempt has failed for 5 days.")

    async def _switch_off(self, reason: str) -> None:
        """Switch the webhook off, unless somebody has changed it meanwhile."""
        if self._hook.enabled:
            _log.warning("webhook_switched_off", webhook=self.id, reason=reason)
            await self._change(enabled=False, disabled=Disabled(_now(), reason))

    async def _announce(self, disabled: Disabled) -> None:
        """Store the event about a webhook that was switched off. Its id is the same after a crash."""
        payload = {
            "webhookId": self.id,
            "name": self._hook.description or self.id,
            "reason": disabled.reason,
            "failingSince": _time(self._progress.failing_since),
        }
        event = log_event(
            self._tenant,
            "whence.webhook_disabled",
            payload,
            event_id=derived_uuid(self._tenant, "webhook_disabled", self.id, str(disabled.at)),
            at=disabled.at,
            outcome="failure",
        )
        [result] = await self._work.store.append(self._tenant, [Write((event,))])
        error = refusal_of(result)
        if error is not None and not isinstance(error, Conflict):
            raise error
        await self._change(disabled=msgspec.structs.replace(disabled, announced=True))

    async def _change(self, **changes: object) -> None:
        """Store another version of the definition, unless somebody else has."""
        hook = msgspec.structs.replace(self._hook, **changes)
        definition = msgspec.structs.replace(
            self._definition, version=self._definition.version + 1, body=msgspec.json.encode(hook)
        )
        if await self._followers.put_definition(definition):
            self.replace(definition)

    async def _viewer(self) -> Viewer | None:
        """Whose log is read, and how much of it; None when the key may not read it any more."""
        return await self._work.keys.viewer(self._tenant, self._hook.key_id, self._hook.readable)

    def _secrets(self) -> list[str]:
        return open_secrets(self._hook, self._work.sealer, self._tenant, self.id, _now())


def delivery_after(delivery: Delivery, answer: Answer, now: int, jitter: float, times: float = 1.0) -> Delivery:
    """What becomes of a delivery by the result of an attempt: delivered with a 2xx, else due again or failed, by the
    schedule, and not before the time that a 429 or 503 asks for. Times are in microseconds."""
    attempts = delivery.attempts + 1
    state, due_at = PENDING, now
    if answer.status is not None and 200 <= answer.status < 300:
        state = DELIVERED
    elif (wait := wait_s(attempts, jitter)) is None:
        state = FAILED
    else:
        wait *= times
        if answer.retry_after_s is not None and answer.status in _RETRY_AFTER:
            wait = max(wait, min(answer.retry_after_s, _RETRY_AFTER_MAX_S))
        due_at = now + int(wait * _US)
    return msgspec.structs.replace(
        delivery,
        state=state,
        due_at=due_at,
        changed_at=now,
        attempts=attempts,
        attempts_in_all=delivery.attempts_in_all + 1,
    )


def open_secrets(hook: Webhook, sealer: Sealer, tenant: str, webhook_id: str, now: int) -> list[str]:
    """The secrets that are valid, the current one first; none when that cannot be opened."""
    bound = secret_bound(tenant, webhook_id)
    opened = [
        sealer.open(each.sealed, bound) for each in hook.secrets if each.valid_until is None or each.valid_until > now
    ]
    return [each.decode() for each in opened if each is not None] if opened and opened[0] is not None else []


def secret_bound(tenant: str, webhook_id: str) -> bytes:
    """What the secrets of a webhook are sealed for."""
    return msgspec.json.encode((tenant, webhook_id))


async def send_event(
    sender: Sender,
    hook: Webhook,
    event: Event,
    viewer: Viewer,
    secrets: list[str],
    grammar: Grammar,
    *,
    stored: bool = True,
) -> Answer:
    """Send an event to a webhook once. One that is not `stored` has no position."""
    message = encode_message(event, hook.form, viewer, grammar, stored=stored)
    headers: Mapping[str, str] = {
        "Content-Type": message.content_type,
        "User-Agent": "Whence",
        **signed_headers(event.id, int(time.time()), message.body, secrets),
    }
    return await sender.post(hook.target, viewer.tenant, headers, message.body)


def _seconds_until(at: int | None) -> float:
    return _IDLE_S if at is None else min(_IDLE_S, max(0.001, (at - _now()) / _US))


def _time(at: int | None) -> str | None:
    return None if at is None else format_time(at)


def _now() -> int:
    """The wall clock, in microseconds since the epoch."""
    return time.time_ns() // 1_000
