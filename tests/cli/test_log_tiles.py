"""`log tiles`: the tree as files that any reader of tlog-tiles understands, and only of what was signed."""

from hashlib import sha256
from pathlib import Path

import httpx2
import pytest

from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli
from tests.cli.test_checkpoint_watch import sealing
from tests.cli.test_checkpoints import store_and_seal
from tests.proofs.vector_log import Tree
from whence.checkpoints import parse_checkpoint
from whence.notes import parse_note
from whence.permissions import READ, WRITE
from whence.tiles import Tile, tiles_of

ANY_ROOT = Mutant(
    "saves_tiles_that_make_another_root",
    """
import whence.cli.log_tiles as tiles
checked = tiles.verified
AnyRoot = type("AnyRoot", (bytes,), {"__ne__": lambda *_: False, "__eq__": lambda *_: True, "__hash__": None})
tiles.verified = lambda *given: checked(*given)._replace(root=AnyRoot())
""",
)


def read(folder: Path, tile: Tile) -> list[bytes]:
    """The hashes of a tile. Its path is spelled out here, as the specification has it."""
    name = f"{tile.level}/{tile.number:03d}" + ("" if tile.width == 256 else f".p/{tile.width}")
    data = (folder / "tile" / name).read_bytes()
    assert len(data) == 32 * tile.width
    return [data[at : at + 32] for at in range(0, len(data), 32)]


def check(folder: Path, size: int) -> None:
    """The files are those of a tree of this size, and make the root of the checkpoint."""
    checkpoint = parse_checkpoint(parse_note((folder / "checkpoint").read_bytes()).text)
    tiles = list(tiles_of(size))
    leaves = [each for tile in tiles if tile.level == 0 for each in read(folder, tile)]
    tree = Tree(leaves.__getitem__)
    assert (checkpoint.size, checkpoint.root) == (size, tree.root(0, size))
    for tile in tiles:
        span = 256**tile.level
        first = tile.number * 256 * span
        expected = [tree.root(first + number * span, first + (number + 1) * span) for number in range(tile.width)]
        assert read(folder, tile) == expected, tile


ANY_ENTRIES = Mutant(
    "saves_entries_that_are_not_in_the_log",
    """
import whence.cli.log_tiles as tiles
AnyHashes = type("AnyHashes", (bytes,), {"__ne__": lambda *_: False, "__eq__": lambda *_: True, "__hash__": None})
tiles.leaf_hashes = lambda bundle: AnyHashes()
""",
)


def check_entries(user: Cli, folder: Path, api: httpx2.Client) -> None:
    """With `--entries` there are bundles beside the tiles. One that is another is asked for again."""
    user.ok("log", "tiles", str(folder), "--entries")
    bundles = sorted((folder / "tile" / "entries").rglob("*"))
    names = [str(each.relative_to(folder / "tile")) for each in bundles if each.is_file()]
    assert names == ["entries/000", "entries/001", "entries/002", "entries/003.p/33"]
    first = folder / "tile" / "entries" / "000"
    right = first.read_bytes()
    assert right == api.get("/api/v1/log/tile/entries/000").content
    length = int.from_bytes(right[:2])
    assert sha256(b"\0" + right[2 : 2 + length]).digest() == (folder / "tile" / "0" / "000").read_bytes()[:32]
    first.write_bytes(right[:-1] + b"x")
    user.ok("log", "tiles", str(folder), "--entries")
    assert first.read_bytes() == right


@catches(ANY_ROOT, ANY_ENTRIES)
def test_the_tree_is_saved_and_grows(cli: Cli, tmp_path: Path) -> None:
    """Full tiles stay as they are. With a tile of another log nothing new is left, and the checkpoint stays."""
    folder = tmp_path / "acme"
    with sealing(tmp_path / "log.db") as served, served.client(READ, WRITE) as api:
        user = cli.given(url=served.url, api_key=served.key(READ, WRITE))
        store_and_seal(api, 600)
        assert "600 events" in user.ok("log", "tiles", str(folder)).err
        check(folder, 600)
        full = folder / "tile" / "0" / "001"
        before = full.stat().st_mtime_ns
        store_and_seal(api, 200)
        user.ok("log", "tiles", str(folder), "--key", user.ok("checkpoint", "key").out.strip())
        check(folder, 800)
        assert full.stat().st_mtime_ns == before
        full.write_bytes(bytes(8192))
        store_and_seal(api, 1)
        assert "do not make the root" in user.fails(5, "log", "tiles", str(folder))
        assert not (folder / "tile" / "0" / "003.p" / "33").exists()
        full.unlink()
        check_again = user.ok("log", "tiles", str(folder))
        assert "801 events" in check_again.err
        check(folder, 801)
        assert not (folder / "tile" / "entries").exists()
        check_entries(user, folder, api)
        assert not list(folder.rglob("*.partial"))


@pytest.mark.parametrize("size", [1, 255, 256, 257])
def test_the_spelling_of_names_is_that_of_the_specification(size: int) -> None:
    """For the sizes around a full tile."""
    names = [tile.path for tile in tiles_of(size)]
    assert (
        names
        == {
            1: ["0/000.p/1"],
            255: ["0/000.p/255"],
            256: ["0/000", "1/000.p/1"],
            257: ["0/000", "0/001.p/1", "1/000.p/1"],
        }[size]
    )
