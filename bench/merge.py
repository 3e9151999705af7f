"""Results of some parts, put into a result of all: what was measured anew replaces what was there."""

from collections.abc import Iterable

import msgspec

from bench.against import PAGE_OF_EACH
from bench.limits import Disk
from bench.result import Indexed, Measured, Run, same_machine
from bench.serving import BATCHES_BESIDE

__all__ = ["merged", "part_of_measure", "parts_of"]

_ON_POSTGRES = "PostgreSQL"


def merged(base: Run, new: Run) -> Run:
    """The base with the parts of the new run. Mode, date, commit, machine and versions are those of the new one.

    Parts of the base that were measured on another machine name its processor.
    """
    replaced = set(new.parts)
    kept = _without(base, replaced)
    elsewhere = "" if same_machine(base.machine, new.machine) else base.machine.cpu
    parts = {name: msgspec.structs.replace(part, cpu=part.cpu or elsewhere) for name, part in kept.parts.items()}
    return msgspec.structs.replace(
        new,
        sizes=base.sizes | new.sizes,
        rates=kept.rates | new.rates,
        loads=kept.loads | new.loads,
        indexed=kept.indexed + new.indexed,
        traces=kept.traces + new.traces,
        disks=kept.disks + new.disks,
        asked=kept.asked + new.asked,
        footprints=kept.footprints + new.footprints,
        memory=new.memory or kept.memory,
        memory_one=new.memory_one or kept.memory_one,
        memory_postgres=new.memory_postgres or kept.memory_postgres,
        scaling=new.scaling or kept.scaling,
        start_s=kept.start_s | new.start_s,
        notes=list(dict.fromkeys([*kept.notes, *new.notes])),
        parts=parts | new.parts,
    )


def parts_of(run: Run) -> dict[str, Measured]:
    """When each part was measured. The parts of an earlier result are those that it has numbers of."""
    if run.parts:
        return run.parts
    machine = run.machine
    of_all = Measured(date=run.date, commit=run.commit, load_before=machine.load_before, load_after=machine.load_after)
    return dict.fromkeys(_found(run), of_all)


def _found(run: Run) -> Iterable[str]:
    yield from map(part_of_measure, (*run.rates, *run.loads))
    yield from map(_of_indexed, run.indexed)
    yield from map(_of_disk, run.disks)
    yield from map(_of_start, run.start_s)
    for part, some in (("trace", run.traces), ("peers", run.asked), ("scaling", run.scaling)):
        if some:
            yield part


def _without(run: Run, parts: set[str]) -> Run:
    """The run without these parts. The notes of an earlier result say which one they are of."""
    notes = run.notes if run.parts else [f"{run.date}: {note}" for note in run.notes]
    return msgspec.structs.replace(
        run,
        rates={name: rates for name, rates in run.rates.items() if part_of_measure(name) not in parts},
        loads={name: loads for name, loads in run.loads.items() if part_of_measure(name) not in parts},
        indexed=[each for each in run.indexed if _of_indexed(each) not in parts],
        traces=[] if "trace" in parts else run.traces,
        disks=[disk for disk in run.disks if _of_disk(disk) not in parts],
        asked=[] if "peers" in parts else run.asked,
        footprints=[] if "peers" in parts else run.footprints,
        memory=None if "server" in parts else run.memory,
        memory_one=None if "server" in parts else run.memory_one,
        memory_postgres=None if "postgres-large" in parts else run.memory_postgres,
        scaling=[] if "scaling" in parts else run.scaling,
        start_s={label: took for label, took in run.start_s.items() if _of_start(label) not in parts},
        notes=notes,
        parts={name: part for name, part in parts_of(run).items() if name not in parts},
    )


def part_of_measure(name: str) -> str:
    """The part that this measure belongs to."""
    if f", {_ON_POSTGRES}" in name:
        return "postgres"
    if name == PAGE_OF_EACH:
        return "peers"
    if name.startswith(("query: ", "question: ")):
        return "server"
    if name == BATCHES_BESIDE:
        return "page"
    return name.partition(" ")[0]


def _of_indexed(each: Indexed) -> str:
    return "postgres-large" if each.store == _ON_POSTGRES else "indexed"


def _of_disk(disk: Disk) -> str:
    return "postgres" if disk.log.endswith(_ON_POSTGRES) else "disk"


def _of_start(label: str) -> str:
    return "postgres-large" if label.endswith(_ON_POSTGRES) else "server"
