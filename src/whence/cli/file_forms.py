"""What a file holds, judged by its first bytes: events to import, or something else and the way out. Pure."""

import codecs
import re
import shlex
from enum import Enum, auto

import msgspec

__all__ = ["EXPECTED", "FileKind", "Form", "form_of", "import_command"]

EXPECTED = "Import reads NDJSON (one JSON object a line), a JSON array and, with --map, CSV; plain or gzipped."

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_TAR_MAGIC = slice(257, 262)

_PACKED = {
    b"PK\x03\x04": ("a ZIP archive", "unzip -p"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "zstd -dc"),
    b"\xfd7zXZ\x00": ("compressed with xz", "xz -dc"),
    b"BZh": ("compressed with bzip2", "bzip2 -dc"),
    b"\x04\x22\x4d\x18": ("compressed with lz4", "lz4 -dc"),
}
"""First bytes, what they say, and the command that unpacks such a file."""

_BINARY = {
    b"SQLite format 3\x00": "an SQLite database. If it is a log of Whence, serve it: whence serve --store sqlite:///PATH",
    b"PAR1": f"a Parquet file. Convert it to NDJSON first. {EXPECTED}",
    b"Obj\x01": f"an Avro file. Convert it to NDJSON first. {EXPECTED}",
    b"%PDF": f"a PDF. {EXPECTED}",
}

_DELIMITERS = (",", ";", "\t", "|")
_COLUMN = re.compile(r'\s*(?:"[^"]{1,128}"|[^"{}\[\]<>=]{1,128})\s*')
_NUL_SHARE = 0.4  # of the bytes of English text in UTF-16, half are NUL


class FileKind(Enum):
    """How events are read from a file."""

    EMPTY = auto()
    LINES = auto()
    DOCUMENT = auto()
    CSV = auto()
    OTHER = auto()


class Form(msgspec.Struct, frozen=True):
    """How a file is read. `problem` says of a file that cannot be read what it is and what to do."""

    kind: FileKind
    problem: str = ""
    delimiter: str = ""


def import_command(map_name: str | None) -> str:
    """The command that imports what is piped to it. `map_name` is the value of --map, if it was given."""
    return "whence import -" if map_name is None else f"whence import --map {shlex.quote(map_name)} -"


def form_of(head: bytes, name: str | None, records: str | None = None, map_name: str | None = None) -> Form:
    """The form of a file that begins with `head`, uncompressed. `name` is None for the standard input.

    `records` is the member of a document that holds the list of records, if a map names one. `map_name` is the value of
    --map, if it was given.
    """
    if not head:
        return Form(FileKind.EMPTY)
    lines = [line for line in head.removeprefix(codecs.BOM_UTF8).splitlines() if line.strip()]
    first = _json_of(lines[0]) if lines else None
    if isinstance(first, dict):
        is_document = records is not None and records in first
        return Form(FileKind.DOCUMENT if is_document else FileKind.LINES)
    problem = _binary_problem(head, name, import_command(map_name))
    if problem:
        return Form(FileKind.OTHER, problem)
    start = lines[0].lstrip()[:1] if lines else b""
    if start == b"[":
        return Form(FileKind.LINES if first is not None and len(lines) > 1 else FileKind.DOCUMENT)
    if start == b"{":
        goes_on = len(lines) > 1 and not lines[1].startswith(b"{")
        is_document = goes_on or (records is not None and len(lines) == 1)
        return Form(FileKind.DOCUMENT if is_document else FileKind.LINES)
    if start == b"<":
        return Form(FileKind.OTHER, f"This is HTML or XML. {EXPECTED}")
    if any(isinstance(_json_of(line), dict) for line in lines):
        return Form(FileKind.LINES)
    delimiter = _delimiter(lines) if len(lines) > 1 or map_name is not None else ""
    return Form(FileKind.CSV, delimiter=delimiter) if delimiter else Form(FileKind.LINES)


def _json_of(line: bytes) -> object:
    """The JSON value in a line; None if it is not JSON. The value itself counts only by its type and members."""
    try:
        return msgspec.json.decode(line, type=dict[str, msgspec.Raw] | list[msgspec.Raw] | str | float | bool | None)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _binary_problem(head: bytes, name: str | None, command: str) -> str | None:
    """What a file is that is no text in UTF-8; `command` imports what is piped to it."""
    file = "FILE" if name is None else shlex.quote(name)
    if head.startswith(_UTF32):
        return f"This is UTF-32 text. Convert it: iconv -f UTF-32 -t UTF-8 {file} | {command}"
    if head.startswith(_UTF16):
        return f"This is UTF-16 text. Convert it: iconv -f UTF-16 -t UTF-8 {file} | {command}"
    for magic, (kind, unpack) in _PACKED.items():
        if head.startswith(magic):
            return f"This is {kind}. Unpack it: {unpack} {file} | {command}"
    for magic, sentence in _BINARY.items():
        if head.startswith(magic):
            return f"This is {sentence}"
    if head[_TAR_MAGIC] == b"ustar":
        return f"This is a tar archive. Unpack it: tar -xOf {file} | {command}"
    even, odd = head[0::2], head[1::2]
    for half, order in ((odd, "LE"), (even, "BE")):
        if len(head) > 1 and half.count(0) > 2 * _NUL_SHARE * len(half) and head.count(0) < 2 * len(half):
            return f"This is UTF-16 text. Convert it: iconv -f UTF-16{order} -t UTF-8 {file} | {command}"
    return f"This is a binary file. {EXPECTED}" if b"\x00" in head else None


def _delimiter(lines: list[bytes]) -> str:
    """What separates the columns of CSV; empty for other text. Its first line has the names of the columns."""
    if not lines:
        return ""
    try:
        header = lines[0].decode()
    except UnicodeDecodeError:
        return ""
    delimiter = max(_DELIMITERS, key=header.count)
    columns = header.split(delimiter)
    named = len(columns) > 1 and all(_COLUMN.fullmatch(column) for column in columns)
    return delimiter if named else ""
