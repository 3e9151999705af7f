"""How the help of a command looks: usage, what it does, examples, and its options with hanging indents."""

import io
from collections.abc import Mapping, Sequence

from cyclopts.help import HelpEntry, HelpPanel
from rich.console import Console, ConsoleOptions, RenderableType

from whence.cli.layout import style_of_stdout, wrapped

__all__ = ["EXAMPLES", "HelpText"]

_LABEL_MAX = 26
"""Columns of labels; a longer one has its text on the next line."""

_NOISE = (None, "", '""', "False", "None")
"""Defaults that say nothing."""

EXAMPLES: Mapping[str, Sequence[str]] = {
    "serve": ("whence serve", "whence serve --port 8800 --store sqlite:///path/to/audit.db"),
    "demo": ("whence demo",),
    "import": ("whence import june.ndjson.gz july.ndjson.gz", "whence import --map cloudtrail trail.json"),
    "emit": (
        "whence emit decision.approved --actor user/ana --resource decision/8841",
        "whence emit task.retried --actor agent/bot --resource action_run/17 --cause @22",
    ),
    "relay": ("whence relay --database postgresql+psycopg://localhost/shop",),
    "list": (
        "whence list --from -1h",
        "whence list --outcome failure --actor-id gpt-4o",
        "whence list --type 'action_run.*' --columns ref,time,actor,sentence",
        "whence list -q 'type:*.failed -actor:agent/* since:-1d'",
        "whence list --all --json > events.ndjson",
    ),
    "tail": ("whence tail -f", "whence tail -f --outcome failure --since -15m", "whence tail -f --after 5598 --json"),
    "get": ("whence get @5539", "whence get 16ea97ab --json"),
    "search": ("whence search checkout-8841", "whence search agent/planner", "whence search 16ea97ab"),
    "why": ("whence why --last-failed", "whence why @5539", "whence why @5539 --full"),
    "effects": ("whence effects @5539", "whence effects @5539 --columns ref,event_type,actor"),
    "trace": ("whence trace @5539 --direction up", "whence trace @5539 --mermaid > trace.mmd"),
    "flow": ("whence flow @5539", "whence flow order-8841 --full"),
    "flows": ("whence flows --failed --from -7d", "whence flows --columns flow,events,length"),
    "map": ("whence map", "whence map --from 2026-01-01 --to 2026-02-01"),
    "histogram": (
        "whence histogram --from -24h",
        "whence histogram --type 'action_run.*' --by event_type --interval 1d",
    ),
    "facets": ("whence facets --from -24h", "whence facets --outcome failure --top 5"),
    "actors": ("whence actors", "whence actors --from 2026-01-01 --to 2026-02-01 --limit 50"),
    "actor": ("whence actor agent/planner", "whence actor agent/planner --from -30d"),
    "resource": ("whence resource order/8841",),
    "export": (
        "whence export --from -7d -o week.ndjson",
        "whence export --outcome failure --format csv --order asc > failures.csv",
        "whence export --from 2026-01-01 --format parquet -o events.parquet",
        "whence export --outcome failure --proof failures --complete",
    ),
    "stats": ("whence stats --from -30d", "whence stats --actors --resource-type action_run"),
    "login": ("whence login https://log.example.com", "whence login https://log.example.com --profile shop"),
    "profile": ("whence profile list", "whence profile use demo"),
    "profile list": ("whence profile list",),
    "profile use": ("whence profile use demo",),
    "profile show": ("whence profile show", "whence profile show demo --key"),
    "profile remove": ("whence profile remove demo",),
    "key": ("whence key create --scope events:read", "whence key list"),
    "key create": (
        "whence key create --scope events:write --name 'the shop' --expires 90d",
        "whence key create --scope events:read:decision",
    ),
    "key list": ("whence key list",),
    "key revoke": ("whence key revoke key_4fQm2",),
    "alert": ("whence alert list", "whence alert create 'A run crashed' --type automation_run.crashed"),
    "alert list": ("whence alert list",),
    "alert create": (
        "whence alert create 'Failures' --outcome failure --at-least 5 --within 10m --per actor",
        "whence alert create 'First deletion' --type connection.deleted --first-seen actor",
        "whence alert create 'No nightly run' --type schedule.fired --actor-id nightly --absent 26h",
    ),
    "alert show": ("whence alert show 01941f29-0000-7aaa-8000-000000000003",),
    "alert delete": ("whence alert delete 01941f29-0000-7aaa-8000-000000000003",),
    "alert test": (
        "whence alert test 01941f29-0000-7aaa-8000-000000000003 --over 7d",
        "whence alert test --outcome failure --at-least 5 --within 10m --over 30d",
    ),
    "webhook": ("whence webhook create https://hooks.example.com/whence", "whence webhook list"),
    "webhook create": (
        "whence webhook create https://hooks.example.com/whence --type 'action_run.*'",
        "whence webhook create https://hooks.slack.com/services/… --format slack --outcome failure",
    ),
    "webhook update": ("whence webhook update ID --enable", "whence webhook update ID --take-over"),
    "webhook replay": ("whence webhook replay ID --since -1d", "whence webhook replay ID --after 5593 --all"),
    "webhook listen": ("whence webhook listen --forward http://localhost:3000/webhooks",),
    "follower": ("whence follower list",),
    "follower list": ("whence follower list", "whence follower list --json"),
    "checkpoint": ("whence checkpoint save acme.checkpoint", "whence checkpoint key"),
    "checkpoint save": ("whence checkpoint save acme.checkpoint",),
    "checkpoint watch": (
        "whence checkpoint watch",
        "whence checkpoint watch https://log-1.example.com https://log-2.example.com",
    ),
    "checkpoint show": ("whence checkpoint show",),
    "checkpoint new-epoch": ("whence checkpoint new-epoch rotated",),
    "checkpoint key": ("whence checkpoint key > acme.key",),
    "witness": (
        'whence witness --state state --key-file key --listen 127.0.0.1:8710 --log "$(cat log.key)"',
        "whence witness new witness.example.com/w1 --state state --key-file key",
    ),
    "witness new": ("whence witness new witness.example.com/w1 --state state --key-file key",),
    "witness list": ("whence witness list --state state",),
    "log": ("whence log tiles acme",),
    "log tiles": ("whence log tiles acme", 'whence log tiles acme --key "$(cat acme.key)"'),
    "proof": ("whence proof @5539 -o event.proof", "whence proof @5539 -o event.proof --cosigned"),
    "retention": ("whence retention show", "whence retention set 365d"),
    "retention show": ("whence retention show",),
    "retention set": ("whence retention set 365d", "whence retention set forever --rule 'chat_thread.*=30d'"),
    "retention preview": ("whence retention preview",),
    "retention apply": ("whence retention apply", "whence retention apply --yes"),
    "hold": ("whence hold add --flow order-8841 --reason 'Case 2026-4'", "whence hold list"),
    "hold add": (
        "whence hold add --flow order-8841 --reason 'Case 2026-4'",
        "whence hold add -q 'actor:agent/planner since:2026-01-01' --reason 'Case 2026-4'",
    ),
    "hold list": ("whence hold list",),
    "hold release": ("whence hold release 01941f29-0000-7aaa-8000-000000000005",),
    "erase": (
        "whence erase @5539 --reason 'Request 2026-117'",
        "whence erase --actor user/u-17 --names --reason 'Request 2026-117'",
    ),
    "tenant": ("whence tenant list", "whence tenant delete acme --checkpoint acme.last"),
    "tenant list": ("whence tenant list", "whence tenant list --store sqlite:///log.db --json"),
    "tenant export": ("whence tenant export acme acme-export",),
    "tenant delete": (
        "whence tenant delete acme --checkpoint acme.last",
        "whence tenant delete acme --no-checkpoint --yes acme",
    ),
    "migrate": ("whence migrate --store postgresql://localhost/whence",),
    "copy": ("whence copy --from sqlite:///log.db --to postgresql://localhost/whence",),
    "verify": (
        "whence verify --store sqlite:///log.db",
        "whence verify --checkpoint acme.checkpoint",
        'whence verify --proof event.proof --key "$(cat acme.key)"',
        "whence verify --proof event.proof --policy witnesses.policy",
        'whence verify --export failures --key "$(cat acme.key)"',
    ),
    "backup": ("whence backup saved.db --store sqlite:///log.db",),
    "restore": ("whence restore saved.db --store sqlite:///log.db",),
    "completion": (
        "whence completion bash > ~/.local/share/bash-completion/completions/whence",
        "whence completion zsh > ~/.whence.zsh",
        "whence completion fish > ~/.config/fish/completions/whence.fish",
    ),
    "open": ("whence open", "whence open @5539", "whence open /map --url https://log.example.com"),
}
"""Commands that work as they stand here, by what comes after `whence`."""


class HelpText:
    """Renders the parts of a help page in the order in which they come."""

    def __init__(self) -> None:
        self._command = ""

    def render_usage(self, console: Console, options: ConsoleOptions, usage: RenderableType) -> None:
        """The first line."""
        text = _plain(usage).removeprefix("Usage:").strip()
        words = text.split()[1:]
        known = [" ".join(words[:count]) for count in (2, 1) if " ".join(words[:count]) in EXAMPLES]
        self._command = known[0] if known else ""
        _print(console, "\n".join(_hanging("Usage: ", text, console.width)), "")

    def render_description(self, console: Console, options: ConsoleOptions, description: RenderableType) -> None:
        """What the command does, and examples."""
        for paragraph in _plain(description).split("\n\n"):
            if paragraph.strip():
                _print(console, *wrapped(" ".join(paragraph.split()), console.width), "")
        examples = EXAMPLES.get(self._command, ())
        if examples:
            _print(console, style_of_stdout().strong("Examples:"), *_example_lines(examples, console.width), "")

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """A group of options, arguments or commands."""
        if not panel.entries:
            return
        title = {"Parameters": "Options"}.get(str(panel.title), str(panel.title))
        _print(console, style_of_stdout().strong(f"{title}:"))
        for entry in panel.entries:
            label = ", ".join(entry.display_labels_with_metavar)
            for line in _hanging(f"  {label}", _text_of(entry), console.width, column=_LABEL_MAX + 4):
                _print(console, line)
        _print(console, "")


def _example_lines(examples: Sequence[str], width: int) -> list[str]:
    """The examples, indented. One that is too long goes on in further lines before an option, as a shell reads it."""
    lines: list[str] = []
    for example in examples:
        line, *options = (f"  {example}",) if len(example) + 2 <= width else f"  {example}".split(" --")
        for option in options:
            if len(line) + len(f" --{option} \\") <= width:
                line += f" --{option}"
            else:
                lines.append(f"{line} \\")
                line = f"      --{option}"
        lines.append(line)
    return lines


def _text_of(entry: HelpEntry) -> str:
    parts = [" ".join(_plain(entry.description).split())]
    if entry.choices:
        parts.append(f"One of: {', '.join(entry.choices)}.")
    if entry.required:
        parts.append("Required.")
    if entry.default not in _NOISE:
        parts.append(f"Default: {entry.default}.")
    return " ".join(part for part in parts if part)


def _hanging(label: str, text: str, width: int, column: int | None = None) -> list[str]:
    """The text after its label, with all of its lines beginning at the same column."""
    column = len(label) if column is None else column
    pieces = wrapped(text, max(width - column, _LABEL_MAX))
    first = [f"{label:<{column}}{pieces[0]}"] if len(label) + 2 <= column or column == len(label) else None
    lines = [f"{' ' * column}{piece}" for piece in pieces]
    return [line.rstrip() for line in (first + lines[1:] if first else [label, *lines])]


def _plain(renderable: RenderableType | None) -> str:
    """The text of something that is printable, without colours and in lines as long as they are."""
    if renderable is None:
        return ""
    console = Console(file=io.StringIO(), width=10_000, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(renderable, end="", markup=False, soft_wrap=True)
    return captured.get().strip()


def _print(console: Console, *lines: str) -> None:
    for line in lines:
        console.file.write(f"{line}\n")
