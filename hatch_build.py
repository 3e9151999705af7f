"""The build hook that adds the console and the assets of the API reference page, so that browsers load them from no
other host.

`console/build.py` builds the console with Node. A wheel that is built from an sdist contains the console of the sdist.

`npm pack` downloads them from the configured registry, at one version whose SHA-512 is pinned here. They are gzipped,
from 4.4 MB to 1.3 MB, into `src/whence/api/static/docs/`, which git ignores. Without npm or a network the build prints
a warning and continues; the server then shows plain pages instead.
"""

import base64
import gzip
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "@scalar/api-reference"
VERSION = "1.72.1"
INTEGRITY = "sha512-XpEJ0rfc/cXbCrR+iC4kK0o/WwX2dTtGQbT049OlPKAHD6IMIFdTeGz2r+M27P2EDWKyUITRm/NzlP8z2pw/Ow=="
MEMBER = "package/dist/browser/standalone.js"
TARGET = Path("src/whence/api/static/docs")
NOTICE = f"""{PACKAGE} {VERSION}, https://github.com/scalar/scalar
scalar.js.gz is its file dist/browser/standalone.js, unchanged.

MIT License

Copyright (c) 2023-present Scalar

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
NPM_TIMEOUT_S = 120


class CustomBuildHook(BuildHookInterface[Any]):
    """Adds the console and the assets of the reference page before the package is built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make both. An editable installation gets no console here: `make` builds it when its sources are newer."""
        if version != "editable":
            self._build_console()
        self._add_reference()

    def _build_console(self) -> None:
        """Build the console, where its sources are. Without Node, or if it fails, the package has what was built."""
        script = Path(self.root) / "console" / "build.py"
        if script.is_file():
            done = subprocess.run([sys.executable, script], stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603  (fixed arguments, no shell)
            if done.stderr:
                self.app.display_warning(done.stderr.strip())

    def _add_reference(self) -> None:
        """Download the assets unless they exist. A missing npm or network does not fail the build."""
        target = Path(self.root) / TARGET
        if (target / "NOTICE.txt").is_file() and (target / "NOTICE.txt").read_text() == NOTICE:
            return
        npm = shutil.which("npm")
        if npm is None:
            self._skip("npm is not installed")
            return
        with tempfile.TemporaryDirectory() as folder:
            command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--pack-destination", folder]
            try:
                subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=NPM_TIMEOUT_S)  # noqa: S603  (fixed arguments, no shell)
                archive = next(Path(folder).glob("*.tgz"))
            except (OSError, subprocess.SubprocessError, StopIteration):
                self._skip("npm could not fetch the package")
                return
            put_assets(archive, target)

    def _skip(self, reason: str) -> None:
        self.app.display_warning(f"/docs will be a plain page: {reason} ({PACKAGE}@{VERSION}). Rebuild with npm.")


def put_assets(archive: Path, target: Path) -> None:
    """Unpack the needed file of `archive` into `target`. Raises ValueError unless the archive is the pinned one."""
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != INTEGRITY:
        raise ValueError(f"The SHA-512 of {PACKAGE}@{VERSION} is not the pinned one.")
    with tarfile.open(archive) as files:
        member = files.extractfile(MEMBER)
        if member is None:
            raise ValueError(f"{PACKAGE}@{VERSION} contains no {MEMBER}.")
        script = member.read()
    target.mkdir(parents=True, exist_ok=True)
    (target / "scalar.js.gz").write_bytes(gzip.compress(script, 9, mtime=0))
    (target / "NOTICE.txt").write_text(NOTICE)
