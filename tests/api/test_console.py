"""The console over HTTP: its page at each of its addresses, its assets, and what a server without it answers."""

import contextlib
import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.conftest import code_of, serving
from tests.unit.mutants import catches, replaced
from whence.api import console

SCRIPT = b"console.log('hello');" * 100
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><base href="/">
<script type="module" src="./assets/index-a1B2c3D4.js"></script>
</head><body><div id="root"></div></body></html>
"""
ADDRESSES = [re.sub(r"{\w+:str}", "x%2F%C3%BC", path) for path in console.PATHS]
IDENTITY = {"Accept-Encoding": "identity"}


def put_console(folder: Path) -> Path:
    """A console as the build makes it."""
    assets = folder / "assets"
    assets.mkdir(parents=True)
    (folder / "index.html").write_text(PAGE)
    (folder / "favicon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (assets / "index-a1B2c3D4.js.gz").write_bytes(gzip.compress(SCRIPT))
    (assets / "plain.css").write_text("body{}")
    for taken in ("livez", "docs", "openapi.json"):
        (folder / taken).write_text("shadow")
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put_console(tmp_path_factory.mktemp("built"))


@contextlib.contextmanager
def asking(folder: Path, built: Path, **settings: Any) -> Iterator[httpx2.Client]:
    """A client without a credential, of a server whose console was built into this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "_built", lambda: built)
        with serving(folder, **settings) as served, served.client() as nobody:
            yield nobody


@pytest.fixture(scope="module")
def page(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A client without a credential of a server that has a console."""
    with asking(tmp_path_factory.mktemp("served"), built) as nobody:
        yield nobody


def test_the_page_answers_each_of_its_addresses(page: httpx2.Client) -> None:
    """To everyone, with the same bytes, also where an id has a slash, and to HEAD without them."""
    bodies = set()
    for address in ADDRESSES:
        answer, head = page.get(address), page.head(address)
        assert (answer.status_code, head.status_code, head.content) == (200, 200, b""), address
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        bodies.add(answer.content)
    assert bodies == {PAGE.replace('<base href="/">', "").replace("<head>", '<head><base href="/">').encode()}
    assert page.post("/explore").status_code == 405


@catches(replaced(console, "_POLICY", "default-src 'self'; script-src 'self' 'unsafe-inline'", "inline_scripts_run"))
def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing_inline(page: httpx2.Client) -> None:
    """Each source of its policy is this server, or nothing, and no page may frame it. No secret is in a referrer."""
    headers = page.get("/").headers
    assert headers["content-security-policy"].count("'none'") == 3
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["base-uri"] == "'self'"
    assert not re.search(r"unsafe|https?:|\*", headers["content-security-policy"])
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


@catches(replaced(console, "_ASKED_EACH_TIME", "max-age=3600", "the_page_is_kept_after_an_update"))
def test_the_page_is_asked_for_each_time_and_sent_once(built: Path, tmp_path: Path) -> None:
    """So that an update shows at once. While the page is the same, the answer is a 304."""
    with asking(tmp_path, built) as page:
        first = page.get("/explore")
        assert first.headers["cache-control"] == "no-cache"
        again = page.get("/trace/x", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_an_asset_is_kept_for_ever_and_sent_packed(page: httpx2.Client) -> None:
    """A name with a hash never changes its content. It was packed by the build, and is unpacked for a client that
    does not take gzip."""
    for coding, packed in (("gzip", True), ("br, *", True), ("identity", False), ("gzip;q=0", False)):
        answer = page.get("/assets/index-a1B2c3D4.js", headers={"Accept-Encoding": coding})
        assert (answer.status_code, answer.content) == (200, SCRIPT)
        assert answer.headers.get("content-encoding") == ("gzip" if packed else None), coding
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert "Accept-Encoding" in answer.headers["vary"]
    for path, media in (("/assets/plain.css", "text/css; charset=utf-8"), ("/favicon.svg", "image/svg+xml")):
        answer = page.get(path, headers=IDENTITY)
        assert (answer.headers["content-type"], answer.headers["cache-control"]) == (media, "no-cache")


@pytest.mark.parametrize("path", ["/assets/x.js", "/assets/..%2Findex.html", "/assets", "/index.html", "/favicon.ico"])
def test_what_the_console_has_not_is_our_404(page: httpx2.Client, path: str) -> None:
    """An asset of another release is such a one."""
    assert (page.get(path).status_code, code_of(page.get(path))) == (404, "not_found")


def test_no_address_of_the_server_is_shadowed(page: httpx2.Client) -> None:
    """Whatever files the build has."""
    assert page.get("/livez").json() == {"status": "ok"}
    assert page.get("/openapi.json").json()["openapi"] == "3.1.0"
    assert page.get("/docs").text != "shadow"
    assert page.get("/api/v1/flows").status_code == 401


def test_the_page_begins_at_the_root_path(built: Path, tmp_path: Path) -> None:
    """Relative addresses begin there, whether the proxy strips the root path or not, and the bare path leads there."""
    with asking(tmp_path, built, root_path="/log") as nobody:
        for address in ("/log/", "/log/e/x", "/", "/e/x"):
            assert '<head><base href="/log/">' in nobody.get(address).text
        assert nobody.get("/log/assets/plain.css").text == "body{}"
        bare = nobody.get("/log", follow_redirects=False)
        assert (bare.status_code, bare.headers["location"]) == (308, "/log/")


def test_without_the_built_files_the_page_says_how_to_go_on(tmp_path: Path) -> None:
    """One sentence; 404 at the addresses that only a console can answer."""
    with asking(tmp_path, tmp_path / "nothing") as nobody:
        answers = {path: nobody.get(path) for path in ("/", "/login", "/e/x")}
        assert [answer.status_code for answer in answers.values()] == [200, 404, 404]
        for answer in answers.values():
            assert "make console" in answer.text and "whence why --last-failed" in answer.text
        assert code_of(nobody.get("/assets/x.js")) == "not_found"


def ignoring(routes: Any) -> Any:
    return lambda settings, others: routes(type(settings)(), others)


@catches(replaced(console, "routes", ignoring(console.routes), "the_switch_is_ignored"))
def test_a_console_that_is_switched_off_is_gone(built: Path, tmp_path: Path) -> None:
    """The root leads to the reference, as it did before there was a console."""
    with asking(tmp_path, built, console=False) as nobody:
        first = nobody.get("/", follow_redirects=False)
        assert (first.status_code, first.headers.get("location")) == (308, "/docs")
        for path in ("/login", "/explore", "/assets/plain.css", "/favicon.svg"):
            answer = nobody.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
