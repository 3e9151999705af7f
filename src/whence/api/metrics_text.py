"""The metrics as text for Prometheus. No label names a tenant, and none holds anything that a client chose."""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

import whence
from whence.api.metrics import APPEND_EVENTS, APPEND_SECONDS, REQUEST_SECONDS, Histogram, Metrics, ProcessCells

__all__ = ["metrics_text"]

_GAUGES = {
    "queue_events": ("queue_events", "Events that are queued or being stored."),
    "queue_events_max": ("queue_limit_events", "The most events that may be queued or being stored."),
    "connections": ("connections_open", "Connections that are served."),
    "connections_max": ("connections_limit", "The most connections that are served, beside those of probes."),
    "bodies_bytes": ("request_bodies_in_flight_bytes", "Bytes of request bodies in memory."),
    "bodies_bytes_max": ("request_bodies_limit_bytes", "The most bytes of request bodies in memory."),
    "answers_bytes": ("answers_in_flight_bytes", "Bytes of large answers that clients have not read yet."),
    "answers_bytes_max": ("answers_limit_bytes", "The most bytes of large answers."),
    "streams": ("streams_open", "Open streams, and feeds that wait."),
    "streams_max": ("streams_limit", "The most streams and waiting feeds."),
    "followers": ("followers", "Webhooks and alert rules that this server works for."),
    "follower_lag_events": (
        "follower_lag_events",
        "Positions that the last of them has not read.",
    ),
    "removals_waiting": ("removals_waiting", "Removals that wait for a checkpoint, or for readers of the store."),
    "sealing_stopped": ("sealing_stopped_logs", "Logs that must not be signed; the server's log has the reason."),
    "quorum_missed": (
        "quorum_missed_logs",
        "Logs without the cosignatures of a quorum for five minutes; the server's log has the reasons.",
    ),
}
"""Name, after the prefix, and description of each gauge."""

_LEAST = frozenset({"process_start_time_seconds", "process_max_fds"})
"""Of what the library says of a process, the values of which several processes have the least, and not the sum."""


def metrics_text(metrics: Metrics, accept: str) -> tuple[bytes, str]:
    """The metrics of all processes in the format that this `Accept` header asks for, and its media type: Prometheus'
    text, or OpenMetrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected([*_families(metrics.read())]))
    encode, media = choose_encoder(accept)
    return encode(registry), media


class _Collected(Collector):
    """What was collected before."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _families(read: ProcessCells) -> Iterable[Metric]:
    appends, sizes = read.appends()
    yield _labelled(
        "whence_ingest_events", "Events that were to be stored, by what became of them.", "result", read.results()
    )
    yield _histogram(
        "whence_append_duration_seconds",
        "From the start of an append until its events were durable.",
        APPEND_SECONDS,
        appends,
    )
    yield _histogram("whence_append_events", "Events of one append.", APPEND_EVENTS, sizes)
    requests = HistogramMetricFamily(
        "whence_http_request_duration_seconds",
        "From the head of a request to the end of its answer.",
        labels=["route", "method", "status"],
    )
    for labels, found in read.requests():
        requests.add_metric(labels, _buckets(REQUEST_SECONDS, found), found.total)
    yield requests
    yield _labelled("whence_refusals", "Answers with an error, by its code.", "code", read.refusals())
    for gauge, (name, text) in _GAUGES.items():
        yield GaugeMetricFamily(f"whence_{name}", text, read.gauge(gauge))
    yield GaugeMetricFamily("whence_processes", "Processes of this server that count.", len(read.pids))
    build = GaugeMetricFamily("whence_build_info", "The version of Whence.", labels=["version"])
    build.add_metric([whence.__version__], 1)
    yield build
    yield from _of_processes(read.pids)


def _labelled(name: str, text: str, label: str, values: Any) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def _histogram(name: str, text: str, bounds: Sequence[float], found: Histogram) -> Metric:
    family = HistogramMetricFamily(name, text)
    family.add_metric([], _buckets(bounds, found), found.total)
    return family


def _buckets(bounds: Sequence[float], found: Histogram) -> list[tuple[str, float]]:
    """The bounds with the counts up to each of them, as Prometheus has them."""
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(found.counts), strict=True))


def _of_processes(pids: Sequence[int]) -> Iterable[Metric]:
    """What the library says of a process, such as its memory and processor time, for all of them together."""
    found: dict[str, list[Metric]] = {}
    for pid in pids:
        for family in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            found.setdefault(family.name, []).append(family)
    for name, families in found.items():
        values = [sample.value for family in families for sample in family.samples]
        value = min(values) if name in _LEAST else sum(values)
        kind = CounterMetricFamily if families[0].type == "counter" else GaugeMetricFamily
        yield kind(name, families[0].documentation, value)
