"""What the first bytes of a file say about it."""

import bz2
import io
import lzma
import tarfile
import zipfile

import pytest
import zstandard

from whence.cli.file_forms import FileKind, form_of

LINE = b'{"eventType":"a.b"}\n'
RECORD = b'{"Records":[{"eventID":"1"}]}'
CSV = b"time,action,who\n2026-01-01,login,ana\n"


def kind(head: bytes, records: str | None = None) -> FileKind:
    return form_of(head, "x", records).kind


@pytest.mark.parametrize(
    "head",
    [
        LINE * 2,
        b"\xef\xbb\xbf" + LINE,
        b"\n\r\n" + LINE,
        b"{bad json\n" + LINE,
        b"[]\n" + LINE,
        b"7\n" + LINE,
        b"\xff\xfe is no mark here? It is\n",
        b"some, text\n" + LINE,
        b'{"payload":"' + b"x" * 9000,
        b"{} trailing",
        b"2026-01-01 12:00 something was logged\n2026-01-02 13:00 again\n",
    ],
)
def test_lines(head: bytes) -> None:
    """NDJSON is recognised by any whole object, though other lines are bad. What is unknown is read as lines too."""
    if head.startswith(b"\xff\xfe"):
        assert kind(head) is FileKind.OTHER
        return
    assert kind(head) is FileKind.LINES


@pytest.mark.parametrize(
    "head",
    [
        b"[" + LINE.strip() + b"," + LINE.strip() + b"]",
        b"[\n" + LINE.strip() + b",\n" + LINE.strip() + b"\n]\n",
        b'[\n  {\n    "eventType": "a.b"\n  }\n]\n',
        b'{\n  "eventType": "a.b"\n}\n{\n  "eventType": "a.c"\n}\n',
        b'{\n"eventType": "a.b"\n}\n',
        b"[]",
        b"  [ {",
    ],
)
def test_documents(head: bytes) -> None:
    """JSON arrays, and JSON that is spread over several lines."""
    assert kind(head) is FileKind.DOCUMENT


def test_a_document_with_a_list_of_records() -> None:
    """It is one line of NDJSON too, unless a map names the member with the list."""
    assert kind(RECORD) is FileKind.LINES
    assert kind(RECORD, "Records") is FileKind.DOCUMENT
    assert kind(RECORD + RECORD, "Records") is FileKind.DOCUMENT
    assert kind(RECORD[:-5] + b"x" * 9000, "Records") is FileKind.DOCUMENT
    assert kind(LINE * 3, "Records") is FileKind.LINES


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv(delimiter: str) -> None:
    """The first line names at least two columns, and another one follows."""
    form = form_of(CSV.replace(b",", delimiter.encode()), "x")
    assert (form.kind, form.delimiter) == (FileKind.CSV, delimiter)
    quoted = form_of(b'"the time","who, or what"\n1,2\n', "x")
    assert (quoted.kind, quoted.delimiter) in [(FileKind.CSV, ","), (FileKind.LINES, "")]
    alone = CSV.splitlines()[0]  # of an export of no rows
    assert (kind(alone), form_of(alone, "x", map_name="m").kind) == (FileKind.LINES, FileKind.CSV)


def packed(name: str) -> bytes:
    """A file of this kind that holds an event."""
    file = io.BytesIO()
    if name == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("events.ndjson", LINE)
    elif name == "tar":
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("events.ndjson"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (packed("zip"), "ZIP archive. Unpack it: unzip -p 'my file' | whence import -"),
        (packed("tar"), "tar archive. Unpack it: tar -xOf 'my file' | whence import -"),
        (zstandard.compress(LINE), "zstd -dc 'my file' | whence import -"),
        (lzma.compress(LINE), "xz -dc 'my file' | whence import -"),
        (bz2.compress(LINE), "bzip2 -dc 'my file' | whence import -"),
        (LINE.decode().encode("utf-16"), "iconv -f UTF-16 -t UTF-8 'my file' | whence import -"),
        (LINE.decode().encode("utf-16-le"), "iconv -f UTF-16LE -t UTF-8 'my file'"),
        (LINE.decode().encode("utf-16-be"), "iconv -f UTF-16BE -t UTF-8 'my file'"),
        (LINE.decode().encode("utf-32"), "iconv -f UTF-32 -t UTF-8 'my file'"),
        (b"PAR1\x15\x04", "Parquet"),
        (b"SQLite format 3\x00", "SQLite database"),
        (bytes(range(256)), "a binary file"),
        (b"<!DOCTYPE html><html>sign in</html>", "HTML or XML"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_read_is_named_with_the_way_out(head: bytes, words: str) -> None:
    """A sentence says what it is, and a command or the forms that can be read."""
    form = form_of(head, "my file")
    assert form.kind is FileKind.OTHER and words in form.problem, form
    mapped = form_of(head, "my file", map_name="my map.toml").problem
    assert mapped == form.problem.replace("import -", "import --map 'my map.toml' -")
    assert "FILE | whence" in form_of(head, None).problem or "|" not in form.problem


def test_nothing() -> None:
    """An empty file is no form at all; one with blank lines is read as lines."""
    assert kind(b"") is FileKind.EMPTY
    assert kind(b"\n \r\n") is FileKind.LINES
