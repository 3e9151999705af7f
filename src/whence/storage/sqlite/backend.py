"""SQLite as a storage engine: a file is created and migrated when it is opened, and has its own backups."""

import os
from collections.abc import Mapping
from pathlib import Path

from whence.errors import StoreRefused
from whence.storage.backends import Backend, ReportProgress, Restored, SharedStores, StoreOptions, engine_of
from whence.storage.base import Store
from whence.storage.sqlite import backup
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.shared import SharedFile
from whence.storage.sqlite.verify import verify
from whence.storage.verification import Report

__all__ = ["BACKEND", "path_of"]


def path_of(url: str) -> str:
    """The path of the file that a `sqlite:///` URL names."""
    return url.removeprefix(engine_of(url).url_prefix)


class _SQLiteBackend:
    """See `Backend` for what the methods do."""

    def create_store(self, url: str, options: StoreOptions) -> Store:
        """Open the file."""
        return SQLiteStore(
            path_of(url),
            serving=options.serving,
            importing=options.importing,
            accept_rollback=options.accept_rollback,
            restoring=options.restoring,
        )

    def share(self, url: str, options: StoreOptions, processes: int) -> SharedStores:
        """Lock the file."""
        return SharedFile(path_of(url), accept_rollback=options.accept_rollback)

    def creates_log(self, url: str) -> bool:
        """Whether the file does not exist but could be made. Below a path that is no folder it could not."""
        path = Path(os.path.realpath(path_of(url)))
        return not path.exists() and (path.parent.is_dir() or not path.parent.exists())

    async def migrate(self, url: str) -> list[str]:
        """Refuse: opening a file migrates it."""
        raise StoreRefused("A SQLite file is migrated whenever it is opened. There is nothing to do.")

    async def verify(self, url: str, progress: ReportProgress | None, *, pooler: bool) -> Report:
        """Check the file in this thread."""
        return verify(path_of(url), progress)

    def secret_path(self, url: str) -> tuple[Path, bool]:
        """Beside the real file, which has one server."""
        return Path(os.path.realpath(path_of(url)) + ".secret"), True

    def check_complete(self, url: str) -> None:
        """Compare the file with its high-water record."""
        backup.refuse_behind(path_of(url))

    def backup(self, url: str, destination: str, *, force: bool, progress: ReportProgress | None) -> Report:
        """Copy one snapshot of the file."""
        return backup.backup(path_of(url), destination, force=force, progress=progress)

    def restore(
        self,
        url: str,
        source: str,
        *,
        force: bool,
        progress: ReportProgress | None,
        deleted: Mapping[str, bool] | None = None,
    ) -> Restored:
        """Replace the file."""
        return backup.restore(source, path_of(url), force=force, progress=progress, deleted=deleted)


BACKEND: Backend = _SQLiteBackend()
