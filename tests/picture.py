"""The picture of the README: what `whence why` shows in a terminal.

python -m tests.picture     makes docs/pictures/why.svg anew
"""

import io
import sys
import tempfile
from collections.abc import Mapping
from html import escape
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.api.conftest import serving
from tests.documents import ROOT, with_the_demo
from tests.terminals import COLUMNS, terminal

PICTURE = ROOT / "docs" / "pictures" / "why.svg"
COMMAND = "whence why @22"

_THEME = TerminalTheme(
    (15, 23, 42),
    (226, 232, 240),
    [
        *((15, 23, 42), (248, 113, 113), (74, 222, 128), (250, 204, 21)),
        *((96, 165, 250), (192, 132, 252), (34, 211, 238), (226, 232, 240)),
    ],
)
_FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="@label@">
<style>
.{unique_id}-matrix {{
font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; white-space: pre;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
<rect width="{width}" height="{height}" rx="8" fill="#0f172a"/>
<g transform="translate(24, 22)">
<circle cx="0" cy="0" r="6" fill="#475569"/>
<circle cx="20" cy="0" r="6" fill="#475569"/>
<circle cx="40" cy="0" r="6" fill="#475569"/>
</g>
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""The form of rich's pictures without the frame of a window, and without fonts that a browser would have to load."""


def coloured_output(folder: Path, environ: Mapping[str, str]) -> str:
    """What the command shows in a terminal, with its colours, and without what goes to stderr."""
    with terminal(folder, environ) as opened:
        shown, code = opened.run(f"{COMMAND} 2>/dev/null")
        assert code == 0, shown
        return opened.coloured.rstrip("\n")


def picture_of(output: str) -> str:
    """The output with the command above it, as SVG."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(f"\x1b[2m$\x1b[0m {COMMAND}\n{output}"), soft_wrap=True)
    summary = Text.from_ansi(output).plain.partition("\n\n")[0].replace("\n", " ")
    code_format = _FORMAT.replace("@label@", escape(f"{COMMAND}: {summary}").replace("{", "{{").replace("}", "}}"))
    return console.export_svg(theme=_THEME, code_format=code_format, unique_id="why")


def main() -> int:
    """Make the picture from the output of the command on the events of the demo."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as served:
        environ = with_the_demo(served, "default", Path(folder))
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(picture_of(coloured_output(Path(folder), environ)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
