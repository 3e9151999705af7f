"""Makes one file of the verifier's page: `src/whence/data/whence-verify.html`. A link to it stands beside this script.

    python verifier/build_page.py          writes it
    python verifier/build_page.py --check  only says whether it is current, with exit code 1 if it is not

The modules become one script, in the order of their imports. The page's Content-Security-Policy allows that script and
that style by their hashes, and nothing else. Needs nothing but Python's own library.
"""

import argparse
import base64
import re
import sys
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent
TARGET = FOLDER.parent / "src" / "whence" / "data" / "whence-verify.html"
MODULES = (
    "sha2.mjs",
    "ed25519.mjs",
    "shake.mjs",
    "mldsa44.mjs",
    "verify.mjs",
    "filters.mjs",
    "exports.mjs",
    "page.mjs",
)
_IMPORT = re.compile(r"^import \{[^}]*\} from \"\./[\w.]+\";\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function |const |class )", re.MULTILINE)
_DECLARED = re.compile(r"^(?:export )?(?:async )?(?:function\*?|const|let|class) (\w+)", re.MULTILINE)


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    page = built_page()
    if not given.check:
        TARGET.write_text(page, encoding="utf-8")
    elif not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != page:
        print("The verifier's page is not current. Run: python verifier/build_page.py", file=sys.stderr)
        return 1
    return 0


def built_page() -> str:
    """The whole page."""
    script, style = joined_script(), f"\n{(FOLDER / 'page.css').read_text(encoding='utf-8')}"
    policy = (
        f"default-src 'none'; script-src '{_hash_of(script)}'; style-src '{_hash_of(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )
    page = (FOLDER / "page.html").read_text(encoding="utf-8")
    for name, text in {"policy": policy, "style": style, "script": script}.items():
        page = page.replace(f"{{{name}}}", text)
    return page


def joined_script() -> str:
    """The modules as one script. Raises ValueError if two of them declare the same name, or one ends the script."""
    sources = [(FOLDER / name).read_text(encoding="utf-8") for name in MODULES]
    names = [name for source in sources for name in _DECLARED.findall(source)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"Two modules declare {', '.join(sorted(twice))}.")
    parts = [_EXPORT.sub("", _IMPORT.sub("", source)) for source in sources]
    script = '\n"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"
    if "</script" in script or "<!--" in script or re.search(r"^(?:import|export) ", script, re.MULTILINE):
        raise ValueError("A module has something that cannot stand in a script of the page.")
    return script


def _hash_of(text: str) -> str:
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}"


if __name__ == "__main__":
    sys.exit(main())
