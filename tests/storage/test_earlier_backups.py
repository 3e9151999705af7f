"""Backups of earlier releases: restored and verified after a migration, and named for what they are by `verify`."""

import gzip
from pathlib import Path

import apsw
import pytest

from whence.errors import StoreRefused
from whence.storage.sqlite import backup
from whence.storage.sqlite.verify import verify

pytestmark = pytest.mark.usefixtures("made_by_hand")

STORES = sorted((Path(__file__).parents[1] / "data" / "stores").glob("*/sqlite.db.gz"))


@pytest.fixture(params=STORES, ids=lambda path: path.parent.name)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file as an earlier release left it."""
    path = tmp_path / "old.db"
    path.write_bytes(gzip.decompress(request.param.read_bytes()))
    return path


def test_a_backup_of_an_earlier_release_is_restored(old: Path, tmp_path: Path) -> None:
    """With all of its events, and verified in this release's schema. The backup itself stays as it was."""
    before = old.read_bytes()
    restored = backup.restore(str(old), str(tmp_path / "new.db"))
    assert restored.report.sound
    assert restored.report.events > 400
    assert verify(str(tmp_path / "new.db")).roots == restored.report.roots
    assert old.read_bytes() == before


def test_a_store_of_an_earlier_release_can_be_backed_up(old: Path, tmp_path: Path) -> None:
    """Before this release opens it for the first time."""
    report = backup.backup(str(old), str(tmp_path / "copy.db"))
    assert report.sound
    assert verify(str(tmp_path / "copy.db")).events == report.events > 400


def test_verify_says_that_a_file_is_of_an_earlier_release(old: Path) -> None:
    """It changes nothing, so it cannot migrate the file, and calls it neither damaged nor altered."""
    with pytest.raises(StoreRefused, match="An earlier release of Whence made this file"):
        verify(str(old))


def test_a_damaged_backup_of_an_earlier_release_is_not_restored(old: Path, tmp_path: Path) -> None:
    """What the verification finds after the migration counts, and nothing is put in place."""
    connection = apsw.Connection(str(old))
    connection.execute("UPDATE event SET payload = CAST('{\"n\":0}' AS BLOB) WHERE key & 0xFFFF = 100")
    connection.close()
    report = backup.restore(str(old), str(tmp_path / "new.db")).report
    assert report.findings[0].position == 100
    assert not (tmp_path / "new.db").exists()
    assert not backup.backup(str(old), str(tmp_path / "copy.db")).sound
    assert not (tmp_path / "copy.db").exists()


def test_a_trigger_in_an_earlier_backup_never_runs(old: Path, tmp_path: Path) -> None:
    """The migration changes rows, so the schema is compared before it begins."""
    connection = apsw.Connection(str(old))
    connection.execute("CREATE TRIGGER widen AFTER UPDATE ON tenant BEGIN UPDATE api_key SET scopes = 'admin'; END")
    connection.close()
    with pytest.raises(StoreRefused, match="trigger 'widen'"):
        backup.restore(str(old), str(tmp_path / "new.db"))
    assert not (tmp_path / "new.db").exists()
