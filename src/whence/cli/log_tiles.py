"""The command `log tiles`: the tree of a log as static files, by C2SP tlog-tiles, which other tools read."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from whence.checkpoints import Checkpoint
from whence.cli.checked_log import CheckedLog, given_key, verified
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.replaced_files import replace_file
from whence.cli.terminal import printable, say
from whence.counting import counted
from whence.errors import Unsound
from whence.merkle import HASH_SIZE, CompactRange
from whence.tiles import TILE_WIDTH, Tile, leaf_hashes, tiles_of, tree_hash

__all__ = ["app", "save_tiles"]

app = App(name="log", help_format="plaintext", version_flags=[])


@app.command(name="tiles")
def save_tiles(
    folder: Annotated[Path, Parameter(name="DIR", help="The folder. Tiles that are in it are not asked for again.")],
    /,
    *,
    key: Annotated[
        str | None, Parameter(help="The key of the log, from where you keep it. Default: those that the server names.")
    ] = None,
    entries: Annotated[
        bool, Parameter(negative="", help="Also save the bundles of entries: the envelopes of all events.")
    ] = False,
    server: ServerOptions | None = None,
) -> int:
    """Save the newest checkpoint and the tiles of its tree, as files that a web server can answer with.

    The files hold hashes and no events, unless --entries adds their envelopes, with all ids and no payload. All hashes
    are computed from the leaves, which have to make the root that is signed. If they do not, no checkpoint is written,
    and the exit code is 5: the log is not the one that the folder has tiles of.
    """
    with client_for(server) as whence:
        log = CheckedLog(whence)
        keys = log.keys() if key is None else [given_key(key)]
        note = log.note()
        checkpoint = verified(note.encode(), keys, "The server's checkpoint")
        tree = _SavedTree(folder, log)
        tree.save(checkpoint, entries=entries)
    replace_file(folder / "checkpoint", note.encode())
    say(f"Saved: {printable(checkpoint.origin)} with {counted(checkpoint.size, 'event')}.")
    if tree.missing:
        say(f"Without {counted(tree.missing, 'bundle')} of entries: some events were removed, or have another actor.")
    return 0


class _SavedTree:
    """The tiles in a folder."""

    def __init__(self, folder: Path, log: CheckedLog) -> None:
        self._folder, self._log = folder, log
        self._new: list[Path] = []
        self.missing = 0
        """How many bundles of entries the server did not have."""

    def save(self, checkpoint: Checkpoint, *, entries: bool) -> None:
        """Save the tiles of a tree, and with `entries` the bundles. Raises Unsound, and leaves no new file, unless they
        make its root."""
        tree, above = CompactRange(), list[bytes]()
        try:
            for tile in (each for each in tiles_of(checkpoint.size) if each.level == 0):
                hashes = self._leaves(tile)
                if entries:
                    self._save_bundle(tile, hashes)
                tree.extend(hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE))
                if tile.width == TILE_WIDTH:
                    above.append(tree_hash(hashes))
            if tree.root() != checkpoint.root:
                raise Unsound(
                    "The tiles do not make the root that is signed. Try an empty folder to see whose are wrong."
                )
        except BaseException:
            for path in self._new:
                path.unlink(missing_ok=True)
            raise
        level = 1
        while above:
            tiles = [b"".join(above[at : at + TILE_WIDTH]) for at in range(0, len(above), TILE_WIDTH)]
            for number, hashes in enumerate(tiles):
                replace_file(self._path(Tile(level, number, len(hashes) // HASH_SIZE)), hashes)
            above = [tree_hash(hashes) for hashes in tiles if len(hashes) == TILE_WIDTH * HASH_SIZE]
            level += 1

    def _save_bundle(self, tile: Tile, leaves: bytes) -> None:
        """Save the entries of a tile of level 0, unless they are there. Raises Unsound for others than its leaves are
        made of."""
        path = self._folder / "tile" / tile.entries_path
        if path.is_file() and leaf_hashes(path.read_bytes()) == leaves:
            return
        bundle = self._log.bundle(tile)
        if bundle is None:
            self.missing += 1
            return
        if leaf_hashes(bundle) != leaves:
            raise Unsound("The server's entries are not those that the leaves of the log are made of.")
        self._new.append(path)
        replace_file(path, bundle)

    def _leaves(self, tile: Tile) -> bytes:
        """The hashes of a tile of level 0, from the folder or from the server. Raises Unsound for another number."""
        path, length = self._path(tile), tile.width * HASH_SIZE
        if path.is_file() and path.stat().st_size == length:
            return path.read_bytes()
        hashes = self._log.tile(tile)
        if len(hashes) != length:
            raise Unsound("The server's tile does not have as many hashes as it should have.")
        self._new.append(path)
        replace_file(path, hashes)
        return hashes

    def _path(self, tile: Tile) -> Path:
        return self._folder / "tile" / tile.path
