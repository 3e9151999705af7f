"""The verifier's page: one file, the same on the server, in the package and in the repository."""

import importlib.util
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import serving
from tests.documents import ROOT

PAGE = ROOT / "src" / "whence" / "data" / "whence-verify.html"
SCRIPT = ROOT / "verifier" / "build_page.py"


def build() -> Any:
    spec = importlib.util.spec_from_file_location("build_page", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current() -> None:
    """It is what its sources make, and the folder of the verifier has it too."""
    text = PAGE.read_text(encoding="utf-8")
    assert text == build().built_page(), "run python verifier/build_page.py"
    assert (ROOT / "verifier" / "whence-verify.html").read_text(encoding="utf-8") == text


def test_the_page_needs_nothing_else() -> None:
    """Its policy allows its own script and style by their hashes, and no host; nothing in it has an address."""
    text = PAGE.read_text(encoding="utf-8")
    for name in ("script", "style"):
        [content] = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        assert f"{name}-src 'sha256-{b64encode(sha256(content.encode()).digest()).decode()}';" in text
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; ") and "http" not in policy and "unsafe" not in policy
    assert not re.search(r"\b(?:src|href|action)=\"(?!data:,)", text)
    assert not re.search(r"\b(?:(?:inner|outer|Adjacent)HTML|write|eval|fetch|XMLHttpRequest|import)\b", _code(text))


def _code(text: str) -> str:
    """The script without its comments, which name types of modules."""
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    return re.sub(r"/\*\*.*?\*/|//[^\n]*", "", script, flags=re.DOTALL)


def test_names_that_two_modules_declare_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one script the later one would change the meaning of the earlier one."""
    module = build()
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "MODULES", ("a.mjs", "b.mjs"))
    (tmp_path / "a.mjs").write_text("export const hash = 1;\n")
    (tmp_path / "b.mjs").write_text('import { hash } from "./a.mjs";\nfunction other() {}\n')
    assert "const hash = 1;\n\nfunction other() {}\n" in module.joined_script()
    (tmp_path / "b.mjs").write_text("function hash() {}\n")
    with pytest.raises(ValueError, match="hash"):
        module.joined_script()
    (tmp_path / "b.mjs").write_text('const end = "</script>";\n')
    with pytest.raises(ValueError, match="cannot stand"):
        module.joined_script()


def test_every_server_has_it(tmp_path: Path) -> None:
    """For everyone, without the console too, byte for byte, and in no frame of another page."""
    with serving(tmp_path, console=False) as served, served.client() as nobody:
        answer, head = nobody.get("/whence-verify.html"), nobody.head("/whence-verify.html")
        assert (answer.status_code, head.status_code, head.content) == (200, 200, b"")
        assert answer.content == PAGE.read_bytes()
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert policy.endswith("frame-ancestors 'none'")
        again = nobody.get("/whence-verify.html", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
