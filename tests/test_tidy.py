"""The house rules that no linter knows."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "whence"

FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 700

ROWS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"events"}),
    frozenset(
        {
            "catalog",
            "counting",
            "fairness",
            "permissions",
            "sealing",
            "sentences",
            "wire",
            "rollups",
            "trace",
            "delays",
            "durable_files",
            "identities",
            "transitions",
            "actor_totals",
            "flows",
            "histograms",
            "facets",
            "activity",
            "names",
            "merkle",
            "merkle_proofs",
            "tiles",
            "notes",
            "checkpoints",
            "witness_policy",
            "witness_protocol",
            "proven_events",
            "recent",
            "random_digits",
            "integrity",
            "matching",
            "proven_exports",
            "webhooks",
            "addresses",
            "alerts",
            "profiles",
            "payload_fields",
            "json_decoding",
            "retention",
            "payload_masking",
            "quotations",
        }
    ),
    frozenset({"storage", "settings"}),
    frozenset(
        {
            "ingest",
            "followers",
            "log_keys",
            "sealer",
            "witness",
            "witnesses",
            "payload_indexing",
            "outbound",
            "delivery",
            "alerting",
            "announcements",
            "deleting",
            "erasing_again",
            "legal_holds",
            "removal",
            "removal_parts",
            "removal_previews",
            "retention_schedule",
            "copying",
            "demo",
        }
    ),
    frozenset({"api"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
"""Who may import whom: only from rows above, and within a row freely, but in no circle."""

CLIENT_ROWS = ROWS[0] | ROWS[1] | ROWS[2]
"""What the client and its integrations may import: they have to run where no server is installed."""

LATE_IMPORTS = {
    ("whence", "import_module"),  # the public names, loaded when first used
    ("whence.cli", "whence.cli.app"),  # the overview must not wait for it
    ("whence.cli.completion", "import_module"),  # to see which commands can run here
    ("whence.cli.local_store", "whence.cli.logs"),  # needs the extra `server`
    ("whence.client.base_client", "whence.client.transport"),  # slow to load: a constructor does, and not an import
    ("whence.client.clients", "whence.client.transport"),
    ("whence.client.clients", "asyncio"),  # slow to load, as the following: `import whence` is to cost a program little
    ("whence.client.encoding", "dataclasses"),
    ("whence.client.responses", "email.utils"),
    ("whence.profiles", "platformdirs"),
    ("whence.profiles", "tempfile"),
    ("whence.wire.payload", "json"),
    ("whence.storage.backends", "import_module"),  # an engine is loaded when a URL names it: its driver is an extra
    ("whence.cli.export", "whence.cli.export_folder"),  # needs the extra `server`
    ("whence.cli.export", "whence.cli.parquet"),  # needs the extra `parquet`
    ("whence.cli.export_check", "whence.cli.parquet"),
    ("whence.cli.export_folder", "whence.cli.parquet"),
    ("whence.cli.import_files", "rich.console"),  # slow to load, and only for a person at a terminal
    ("whence.cli.import_files", "rich.progress"),
    ("whence.cli.relay", "sqlalchemy"),  # of an extra
    ("whence.cli.relay", "sqlalchemy.exc"),
    ("whence.cli.relay", "whence.integrations.sqlalchemy"),
}
"""Every import that waits for its function to be called: (module, what it imports)."""


SHARED_NAMES = {
    # Users import it from the module of their framework, where the class is what its documents call a middleware.
    "WhenceMiddleware": {"whence.integrations.asgi", "whence.integrations.mcp", "whence.integrations.wsgi"},
}
"""The classes and types that are declared in several modules, with the reason."""


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the package by its dotted name."""
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


TEXTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted({*MODULES.values(), *(ROOT / "tests").rglob("*.py")})
}
"""Every Python file of the package and of the tests, by its path."""

RETIRED = frozenset(
    {"courier", "lull", "placing", "restoring", "tallies", "tally", "told", "wakeups", "wall", "watches", "wide"}
)
"""Words that have given way to those of docs/concepts.md: sender, idle, sequencing, totals, row security, unbounded."""

REGISTRIES = tuple(
    ".".join(name)
    for name in (
        ("pypi", "org"),
        ("files", "python" + "hosted", "org"),
        ("registry", "yarnpkg", "com"),
        ("registry", "npmjs", "org"),
        ("deb", "debian", "org"),
    )
)
"""Hosts that no file may name. They are put together here, so that this file names none either."""

MACHINE_PATHS = (*(f"/{name}/" for name in ("work", "root", "home")), f"{'shared'}/")
"""The beginnings of paths on a machine. They are put together for the same reason."""


def imported(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Every import in a tree, wherever it stands, under `if TYPE_CHECKING` too: (statement, dotted name)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            for alias in node.names:
                full = f"{module}.{alias.name}"
                yield node, full if full in MODULES else module


def part(module: str) -> str:
    """The part of the house that a module belongs to: the name below `whence`."""
    return module.split(".")[1] if "." in module else ""


def row(name: str) -> int:
    """The number of a part's row. Raises StopIteration for a part that has none."""
    return next(number for number, names in enumerate(ROWS) if name in names)


def own_imports(module: str) -> set[str]:
    """The modules of this package that a module imports."""
    names = {name for _, name in imported(TREES[module]) if name.split(".")[0] == "whence"}
    return {name for name in names if part(name)}


def test_imports_point_down_only() -> None:
    """A module imports from its own row or from one above it; client and integrations have a rule of their own."""
    upward = []
    for module in MODULES:
        here = part(module)
        if here in ("", "client", "integrations"):
            continue
        allowed = {name for names in ROWS[: row(here) + 1] for name in names}
        if here == "cli":
            allowed |= {"client", "integrations"}
        upward += [f"{module}: {name}" for name in own_imports(module) if part(name) not in allowed]
    assert not upward


def test_every_part_has_a_row() -> None:
    """A new part of the house is put into a row, here and in ARCHITECTURE.md, or this test fails."""
    parts = {part(module) for module in MODULES} - {"", "client", "integrations"}
    assert parts == {name for names in ROWS for name in names}
    _, _, rows = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("**Imports point down only**")
    listed = re.findall(r"^\d\. ((?:[a-z_]+[,\s]+)+)", rows.partition("## ")[0], re.MULTILINE)
    assert [frozenset(re.findall(r"\w+", names)) for names in listed] == [*ROWS[:-1]]


def test_no_two_parts_import_each_other() -> None:
    """Within a row too, imports make no circle."""
    edges = {
        (part(module), part(name)) for module in MODULES for name in own_imports(module) if part(module) != part(name)
    }
    left = {name for edge in edges for name in edge}
    while free := {name for name in left if not any(a == name and b in left for a, b in edges)}:
        left -= free
    assert not left


def test_the_client_imports_the_first_three_rows_alone() -> None:
    """The client runs without a server's packages."""
    seen: set[str] = set()
    waiting = {module for module in MODULES if part(module) in ("client", "integrations")}
    while waiting:
        module = waiting.pop()
        seen.add(module)
        waiting |= (own_imports(module) & MODULES.keys()) - seen
    assert {part(module) for module in seen} - {"client", "integrations"} <= CLIENT_ROWS
    assert not {
        name
        for module in MODULES
        if part(module) == "client"
        for name in own_imports(module)
        if part(name) == "integrations"
    }


def test_functions_fit_a_screen() -> None:
    """No function of the package and of the tests is longer than 60 lines, its docstring counted."""
    long = [
        f"{path}: {node.name}: {node.end_lineno - node.lineno + 1}"
        for path, text in TEXTS.items()
        if len(text.splitlines()) > FUNCTION_LINES_MAX
        for tree in [ast.parse(text)]
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert not long


def test_files_can_be_read_in_one_go() -> None:
    """No file is longer than 700 lines."""
    lengths = {name: len(text.splitlines()) for name, text in TEXTS.items()}
    assert not {name: lines for name, lines in lengths.items() if lines > FILE_LINES_MAX}


def test_only_the_named_imports_wait() -> None:
    """An import stands at the top of its module, but for those in the list above; and that list holds no more."""
    late = {
        (module, name)
        for module, tree in TREES.items()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for _, name in imported(function)
    }
    late |= {
        (module, "import_module")
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__")
    }
    assert late == LATE_IMPORTS


def tracked() -> list[Path]:
    """The files that git tracks or would track."""
    if not (ROOT / ".git").exists():
        pytest.skip("only a git checkout knows which files belong to it")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def tracked_text() -> Iterator[tuple[Path, str]]:
    """The tracked files that hold text."""
    for path in tracked():
        try:
            yield path.relative_to(ROOT), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_exceptions_from_the_rules_carry_reasons() -> None:
    """A `noqa` or `type: ignore` names its rule, and says why in the same line."""
    exception = re.compile(r"#\s*(?:no" r"qa|type:\s*ig" r"nore)(?P<rest>.*)")
    reasoned = re.compile(r"(?::\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*|\[[a-z, -]+\])\s+(?:\(.{8,}\)|#\s*.{8,}).*")
    bare = [
        f"{path}:{number}"
        for path, text in tracked_text()
        if path.suffix == ".py"
        for number, line in enumerate(text.splitlines(), 1)
        for found in [exception.search(line)]
        if found and not reasoned.fullmatch(found["rest"])
    ]
    assert not bare


def test_every_slow_test_exists() -> None:
    """A test that was renamed leaves the list, else it would be quick again."""
    named = [line for line in (ROOT / "tests" / "slow_tests.txt").read_text().splitlines() if not line.startswith("#")]
    assert named == sorted(set(named))
    for path, _, name in (line.partition("::") for line in named):
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"


def test_no_file_names_a_registry() -> None:
    """Where packages come from is the machine's own matter."""
    found = [f"{path}: {host}" for path, text in tracked_text() for host in REGISTRIES if host in text]
    assert not found


def test_no_file_knows_the_machine_it_was_made_on() -> None:
    """No path of a developer's machine is in the repository."""
    pattern = re.compile("|".join(rf"(?<![\w.$}}-]){re.escape(name)}" for name in MACHINE_PATHS))
    found = [
        f"{path}:{number}"
        for path, text in tracked_text()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found


IMPORTED = re.compile(r"^ *from \S+ import (\([^)]*\)|.*)$", re.MULTILINE)
DEFINED = re.compile(r"^ *(?:class|def|async def) +(\w+)", re.MULTILINE)
"""Faster than a syntax tree of each file by seconds."""


def test_no_underscored_name_is_imported() -> None:
    """A name with a leading underscore is used by its own module only, in the package and in the tests."""
    found = [
        f"{path}: {name}"
        for path, text in TEXTS.items()
        for names in IMPORTED.findall(text)
        for name in re.findall(r"(?<!as )\b_[A-Za-z]\w*", names)
    ]
    assert not found


def test_retired_words_do_not_come_back() -> None:
    """Modules, classes and functions are named by the words of docs/concepts.md."""
    found = [f"{path}: {name}" for path, text in TEXTS.items() for name in defined(path, text) if RETIRED & words(name)]
    assert not found


@pytest.mark.parametrize("name", ["wait_for_lull", "TallyRow", "_Courier", "is_wide_query", "placing"])
def test_a_retired_word_is_found_in_any_spelling(name: str) -> None:
    """In snake case and in camel case, alone and among other words."""
    assert RETIRED & words(name)


def test_a_class_or_type_is_declared_once() -> None:
    """One name has one meaning: a public class, or a type that a module exports, is declared in one module only."""
    assert declared_often(TREES) == SHARED_NAMES


@pytest.mark.parametrize(
    "again", ["class Query: ...", "if x:\n    class Query: ...", "__all__ = ['Query']\nQuery = str"]
)
def test_a_second_declaration_is_found(again: str) -> None:
    """A class and an exported type count, wherever they stand in a module; an import and a local type do not."""
    planted = TREES | {"whence.planted": ast.parse(again)}
    assert declared_often(planted) == SHARED_NAMES | {"Query": {"whence.events", "whence.planted"}}
    harmless = ast.parse("from whence.events import Query as Query\n__all__ = ['Query']\nEvent = str")
    assert declared_often(TREES | {"whence.planted": harmless}) == SHARED_NAMES


def declared_often(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """The classes and types that several modules declare, each with these modules."""
    declaring: dict[str, set[str]] = {}
    for module, tree in trees.items():
        for name in declared_types(tree):
            declaring.setdefault(name, set()).add(module)
    return {name: where for name, where in declaring.items() if len(where) > 1}


def declared_types(tree: ast.Module) -> Iterator[str]:
    """The public classes of a module, and the types that it exports. Names of constants are in capitals."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
    assigned = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    exported = ast.literal_eval(assigned.get("__all__", ast.Tuple([])))
    yield from (name for name in assigned if name in exported and name[0].isupper() and not name.isupper())


def defined(path: str, text: str) -> Iterator[str]:
    """The names of a module and of its classes and functions. A test's name is a sentence, and left out."""
    yield Path(path).stem
    yield from (name for name in DEFINED.findall(text) if not name.startswith("test_"))


def words(name: str) -> frozenset[str]:
    """The words of an identifier in lower case."""
    return frozenset(word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name))
