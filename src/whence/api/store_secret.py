"""Where a server finds the secret of its store: in a setting, else in a file, which the first server makes.

The file is outside of the database, so that neither the database nor a copy of it has the secret. The file holds the
text of the secret, as the setting does, and only its owner can read it.
"""

import contextlib
import os
import secrets
import stat
from pathlib import Path

import structlog

from whence.durable_files import sync_folder
from whence.errors import StoreRefused
from whence.sealing import StoreSecret
from whence.settings import Settings
from whence.storage import backend_for

__all__ = ["load_store_secret"]

_log = structlog.get_logger("whence.server")

_SHARED = (
    "Servers on other machines, and pods without this file, need the same secret, or they refuse each other's "
    "cursors and operators' tokens. Put it into WHENCE_STORE_SECRET or WHENCE_STORE_SECRET_FILE of all of them."
)
_TEMPORARY = (
    "The secret is a new one that ends with this process, and with it end cursors and operators' tokens. Set "
    "WHENCE_STORE_SECRET or WHENCE_STORE_SECRET_FILE."
)


def load_store_secret(settings: Settings) -> StoreSecret:
    """The secret of the store that is served. Raises StoreRefused for a file that holds none."""
    if settings.store_secret is not None:
        return StoreSecret(settings.store_secret, is_shared=True)
    path, shared = backend_for(settings.store).secret_path(settings.store)
    try:
        text = _text_in(path) or _make(path)
    except (OSError, UnicodeDecodeError) as error:
        _log.warning("store_secret_not_kept", path=str(path), error=type(error).__name__, advice=_TEMPORARY)
        return StoreSecret.random()
    if not shared:
        _log.warning("store_secret_is_local", path=str(path), advice=_SHARED)
    try:
        return StoreSecret(text, is_shared=shared)
    except ValueError:
        raise StoreRefused(
            f"The file {path} holds no secret of a store. Put the right one back, or remove the file: the server then "
            "makes a new secret, and open cursors and operators' tokens end."
        ) from None


def _text_in(path: Path) -> str | None:
    """The text in the file; None when there is no file."""
    try:
        with path.open(encoding="utf-8") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                _log.warning(
                    "store_secret_readable", path=str(path), advice=f"Others can read it. Run: chmod 600 {path}"
                )
            return file.read().strip()
    except FileNotFoundError:
        return None


def _make(path: Path) -> str:
    """Make the file with a new secret, whole or not at all. When another process was first, its secret is returned."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(StoreSecret.new_text() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)  # fails if the name is taken, unlike a rename
    finally:
        partial.unlink()
    sync_folder(path)
    text = _text_in(path)
    if text is None:
        raise FileNotFoundError(path)
    return text
