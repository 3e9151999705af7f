"""The table of what a server does with more processes, and what each number of them costs."""

from collections.abc import Callable, Iterable
from statistics import median

from bench.result import Run, Scaled

__all__ = ["scaling_table"]

_HEAD = (
    "processes",
    "pages/s",
    "times one",
    "single events/s",
    "times one",
    "events/s in batches",
    "times one",
    "CPU µs: page / single / event of a batch",
    "PSS MB",
    "processes at work: pages / writes",
)
Table = Callable[[tuple[str, ...], Iterable[tuple[str, ...]]], str]


def scaling_table(run: Run, number: Callable[[float], str], table: Table) -> str:
    """The section with the table; empty if it was not measured."""
    if not run.scaling:
        return ""
    one = run.scaling[0]
    rows = [_row(each, one, run.machine.cores, number) for each in run.scaling]
    cores = run.machine.cores
    rounds = f"{len(one.pages)} round{'s' if len(one.pages) > 1 else ''}"
    shares = [max(at) for each in run.scaling for at in zip(*each.busy, strict=True)]
    return (
        "## More processes\n\n"
        f"`whence serve --processes N` on a machine with {cores} processors, which the load generator shares: it used "
        f"up to {max(shares):.0%} of one. Medians of {rounds}, in which the numbers took turns, one server "
        "at a time. The file has the log of the pages above. *Processes* are those that answer requests. With "
        "more than one, another one writes the file, and a supervisor waits.\n\n"
        + table(_HEAD, rows)
        + "\n\n"
        + f"- **Oversubscribed** (`*`): more processes at work, the load generator among them, than the {cores} "
        "processors. They take turns, so such a row shows the cost of that and not what more processors would give.\n"
        "- *CPU* is the processor time of all processes of the server, in user and in kernel mode, for each page, "
        "single event and event of a batch.\n"
        "- *PSS* is the memory of all processes of the server after the load. A page that several share is divided "
        "among them."
    )


def _row(each: Scaled, one: Scaled, cores: int, number: Callable[[float], str]) -> tuple[str, ...]:
    cells = [str(each.acceptors)]
    for rates, of_one in ((each.pages, one.pages), (each.posts, one.posts), (each.events, one.events)):
        cells += [f"{median(rates):,.0f}", number(median(rates) / median(of_one))]
    costs = (each.page_cpu_us, each.post_cpu_us, each.event_cpu_us)
    cells += [" / ".join(number(median(cost)) for cost in costs), f"{median(each.memory_mb):.0f}"]
    writers = 0 if each.acceptors == 1 else 1
    at_work = (each.acceptors + 1, each.acceptors + writers + 1)  # the load generator is one of them
    cells.append(" / ".join(f"{busy}{'*' if busy > cores else ''}" for busy in at_work))
    return tuple(cells)
