"""Requests of hostile or careless clients, and the class of answer that each must get. Data only.

A case is the bytes of one request, with `@KEY@` in place of a valid API key. The text `zq9x` in it must never appear in
the answer of a refusal. The classes:

    stored    201, and the event can be read back
    read      200
    refused   a 4xx in one of the two error shapes; nothing is stored
    cut       the client stops midway and closes its side: nothing is stored, and an answer, if any, is a refusal
"""

import gzip
import json
from collections.abc import Iterator
from typing import Literal

import msgspec
import zstandard

__all__ = ["ALL", "EVENT", "Case", "Expect"]

Expect = Literal["stored", "read", "redirected", "refused", "cut"]

KIB = 1024
MARK = "zq9x"
RUN = "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001"
EVENT = {
    "eventType": "action_run.completed",
    "actorType": "agent",
    "actorId": "planner",
    "resourceType": "action_run",
    "resourceId": RUN,
    "occurredAt": "2026-01-02T03:04:05Z",
}
GOOD = json.dumps(EVENT).encode()
LINE = b"POST /api/v1/events HTTP/1.1"
HOST = b"Host: localhost"
KEY = b"Authorization: Bearer @KEY@"
JSON = b"Content-Type: application/json"


class Case(msgspec.Struct, frozen=True):
    """One request, and the class of its answer."""

    name: str
    request: bytes
    expect: Expect


def raw(*lines: bytes, body: bytes = b"") -> bytes:
    """A request of these lines, unchanged."""
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def post(body: bytes, *headers: bytes, media: bytes | None = JSON) -> bytes:
    """A well-formed POST of any body."""
    sent_headers = [header for header in (media, *headers) if header is not None]
    return raw(LINE, HOST, KEY, *sent_headers, b"Content-Length: %d" % len(body), body=body)


def field(name: str, value: bytes) -> bytes:
    """A POST of a valid event in which one field has this JSON."""
    members = {key: json.dumps(text).encode() for key, text in EVENT.items()} | {name: value}
    return post(b"{" + b",".join(b'"%b":%b' % (key.encode(), text) for key, text in members.items()) + b"}")


def get(target: str | bytes, method: bytes = b"GET") -> bytes:
    """A GET of this path."""
    return raw(method + b" " + (target if isinstance(target, bytes) else target.encode()) + b" HTTP/1.1", HOST, KEY)


def text(value: str) -> bytes:
    return json.dumps(value).encode()


def deep(levels: int) -> bytes:
    """A payload with this number of levels, including its own object."""
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


# ----------------------------------------------------------------------------------------------------------- payloads

GOOD_PAYLOADS: dict[str, bytes] = {
    "empty": b"{}",
    "null inside": b'{"a":null}',
    "64 levels": deep(64),
    "1E2": b'{"a":1E2}',
    "minus zero": b'{"a":-0,"b":-0.0}',
    "largest double": b'{"a":1.7976931348623157e308}',
    "smallest double": b'{"a":5e-324}',
    "2^53+1": b'{"a":9007199254740993}',
    "2^63": b'{"a":9223372036854775808}',
    "2^64": b'{"a":18446744073709551616}',
    "128 digits": b'{"a":1%b}' % (b"0" * 127),
    "escaped nul": b'{"a":"\\u0000"}',
    "escaped pair": b'{"a":"\\ud83d\\ude00"}',
    "emoji": '{"a":"😀"}'.encode(),
    "line separators": '{"a":"\u2028\u2029"}'.encode(),
    "byte order mark in text": '{"a":"\ufeff"}'.encode(),
    "non-characters": '{"a":"\uffff\ufffe"}'.encode(),
    "right to left": '{"a":"\u202e\u2066"}'.encode(),
    "all escapes": b'{"a":"\\"\\\\\\/\\b\\f\\n\\r\\t"}',
    "empty key": b'{"":1}',
    "keys of a prototype": b'{"__proto__":{"a":1},"constructor":{},"__class__":1}',
    "operator keys": b'{"$where":"1","a.b":1,"a[0]":2}',
    "keys that look like syntax": b'{"a\\":":1,"\\\\":2,"b\\\\\\"":3}',
    "text that looks like keys": b'{"a":"\\"b\\":1,\\"b\\":2"}',
    "a script": b'{"a":"<script>alert(1)</script><!--"}',
    "sse lines": b'{"a":"\\n\\ndata: x\\nevent: y"}',
    "a formula": b'{"a":"=cmd|\' /C calc\'!A0"}',
    "sql": b'{"a":"\'; DROP TABLE event; --"}',
    "nearly 256 KiB of text": b'{"a":"%b"}' % (b"x" * (256 * KIB - 8)),
    "10,000 keys": json.dumps({f"k{n}": n for n in range(10_000)}).encode(),
    "50,000 items": b'{"a":[%b]}' % b",".join([b"1"] * 50_000),
    "white space": b' \t\r\n{ \n "a" \t:\r [ 1 , 2 ] } \n',
}

BAD_PAYLOADS: dict[str, bytes] = {
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":[Infinity]}',
    "-Infinity": b'{"a":-Infinity}',
    "1e400": b'{"a":1e400}',
    "-1e400": b'{"a":{"b":-1e400}}',
    "129 digits": b'{"a":1%b}' % (b"0" * 128),
    "100,000 digits": b'{"a":%b}' % (b"9" * 100_000),
    "a lone high surrogate": b'{"a":"\\ud800zq9x"}',
    "a lone low surrogate": b'{"a":"zq9x\\udc00"}',
    "a pair the wrong way round": b'{"a":"\\udc00\\ud800"}',
    "a surrogate in a key": b'{"\\ud800":1}',
    "ff": b'{"a":"zq9x\xff"}',
    "overlong nul": b'{"a":"\xc0\x80"}',
    "overlong slash": b'{"a":"\xe0\x80\xaf"}',
    "an encoded surrogate": b'{"a":"\xed\xa0\x80"}',
    "a cut sequence": b'{"a":"\xe2\x82"}',
    "beyond unicode": b'{"a":"\xf4\x90\x80\x80"}',
    "ff in a key": b'{"zq9x\xff":1}',
    "a key twice": b'{"a":1,"a":1}',
    "a key twice, inside": b'{"x":[{"a":1,"b":2,"a":3}]}',
    "a key twice, once escaped": b'{"a":1,"\\u0061":2}',
    "65 levels": deep(65),
    "10,000 levels": deep(10_000),
    "100,000 levels": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "a raw control character": b'{"a":"\x01"}',
    "a raw nul": b'{"a":"\x00"}',
    "a raw newline": b'{"a":"\n"}',
    "single quotes": b"{'a':1}",
    "no quotes": b"{a:1}",
    "a trailing comma": b'{"a":1,}',
    "a comment": b'{"a":1/*zq9x*/}',
    "hexadecimal": b'{"a":0x10}',
    "a plus": b'{"a":+1}',
    "a leading zero": b'{"a":01}',
    "no digit before the dot": b'{"a":.5}',
    "no digit after the dot": b'{"a":5.}',
    "no exponent": b'{"a":1e}',
    "an unknown escape": b'{"a":"\\x41"}',
    "a bad escape": b'{"a":"\\u12G4"}',
    "a capital literal": b'{"a":True}',
    "undefined": b'{"a":undefined}',
    "an array": b'["zq9x"]',
    "a text": b'"zq9x"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
    "over 256 KiB": b'{"a":"%b"}' % (b"x" * (256 * KIB)),
}


def payloads() -> Iterator[Case]:
    for name, value in GOOD_PAYLOADS.items():
        yield Case(f"payload: {name}", field("payload", value), "stored")
    for name, value in BAD_PAYLOADS.items():
        yield Case(f"payload: {name}", field("payload", value), "refused")


# ------------------------------------------------------------------------------------------------------------- bodies

BAD_BODIES: dict[str, bytes] = {
    "empty": b"",
    "white space": b" \r\n\t ",
    "two byte order marks": 2 * b"\xef\xbb\xbf" + GOOD,
    "null": b"null",
    "true": b"true",
    "a number": b"42",
    "a text": b'"zq9x"',
    "an empty array": b"[]",
    "an array": b"[" + GOOD + b"]",
    "an empty object": b"{}",
    "half": GOOD[: len(GOOD) // 2],
    "twice": GOOD + GOOD,
    "two lines": GOOD + b"\n" + GOOD,
    "a tail": GOOD + b" zq9x",
    "a nul behind": GOOD + b"\0",
    "nuls alone": b"\0" * 100,
    "utf-16": json.dumps(EVENT).encode("utf-16"),
    "utf-32": json.dumps(EVENT).encode("utf-32-le"),
    "an open brace": b"{",
    "a closed brace": b"}",
    "300 KiB of brackets": b"[" * (300 * KIB),
    "300 KiB of objects": b'{"a":' * (60 * KIB),
    "a form": b"eventType=a.b&actorId=zq9x",
    "xml": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "html": b"<html>zq9x</html>",
    "gzip that does not say so": gzip.compress(GOOD),
    "over 320 KiB": b" " * (321 * KIB) + GOOD,
    "a key twice": GOOD[:-1] + b',"actorId":"zq9x"}',
    "a key twice, once escaped": GOOD[:-1] + b',"\\u0061ctorId":"zq9x"}',
    "an unknown key": GOOD[:-1] + b',"actorID":"zq9x"}',
    "a prototype": GOOD[:-1] + b',"__proto__":{"admin":true}}',
    "a position": GOOD[:-1] + b',"position":1}',
    "a recordedAt": GOOD[:-1] + b',"recordedAt":"2026-01-02T03:04:05Z"}',
    "names with underscores": GOOD.replace(b"actorId", b"actor_id"),
    "1,000 unknown keys": GOOD[:-1] + b"".join(b',"k%d":"zq9x"' % n for n in range(1000)) + b"}",
    "a deep unknown key": GOOD[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
}


def bodies() -> Iterator[Case]:
    for name, body in BAD_BODIES.items():
        yield Case(f"body: {name}", post(body), "refused")
    yield Case("body: white space around", post(b" \n" + GOOD + b"\r\n "), "stored")
    yield Case("body: byte order mark", post(b"\xef\xbb\xbf" + GOOD), "stored")
    yield Case("body: keys escaped", post(GOOD.replace(b"actorId", b"\\u0061ctorId")), "stored")


# ------------------------------------------------------------------------------------------------------------- fields

REQUIRED = tuple(EVENT)
NULLABLE = ("id", "correlationId", "causationId", "outcome")
WRONG_KINDS: dict[str, bytes] = {"number": b"1", "true": b"true", "array": b'["zq9x"]', "object": b'{"a":"zq9x"}'}

BAD_FIELDS: dict[str, tuple[str, ...]] = {
    "eventType": (
        *("zq9x", "Action.Run", "a.b.c.d.e.f", "a.b.", ".a.b", "a..b", "a.*", "a b.c", "a.b\n", "whence.x.y"),
        *("é.b", "1a.b", "a." + "b" * 127),
    ),
    "actorType": ("zq9x", "AGENT", "agent ", "users"),
    "actorId": ("x" * 256, "a\0b", "a\x1fb", "a\x7fb", "a\x85b", "a\nzq9x"),
    "resourceType": ("zq9x", "ACTION_RUN", "action_runs"),
    "resourceId": (
        *("zq9x", "{" + RUN + "}", "urn:uuid:" + RUN, RUN.replace("-", ""), RUN + "0", RUN[:-1], " " + RUN),
        *(RUN.replace("5", "\uff15", 1), "'; DROP TABLE event; --"),
    ),
    "occurredAt": (
        *("zq9x", "now", "infinity", "1700000000", "2026-01-02", "2026-01-02T03:04:05", "2026-01-02T03:04Z"),
        *("2026-01-02T24:00:00Z", "2026-06-30T23:59:60Z", "2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z"),
        *("10000-01-01T00:00:00Z", "2026-01-02T03:04:05+24:00", "2026-01-02T03:04:05+0100", "9999-12-31T23:59:59Z"),
        *("0001-01-01T00:00:00+01:00", "2026-01-02T03:04:05,5Z", "\uff12026-01-02T03:04:05Z", "2026-01-02T03:04:05.Z"),
        "2026-01-02T03:04:05." + "1" * 100 + "Z",
    ),
    "id": ("zq9x", "1", RUN.replace("-", ""), "{" + RUN + "}"),
    "correlationId": ("x" * 256, "a\0zq9x", "\x1b[31m"),
    "causationId": ("x" * 256, "a\rb"),
    "outcome": ("zq9x", "SUCCESS", "ok", "failed"),
    "tenantId": ("zq9x", "acme ", "ACME", "acme\0"),
}

GOOD_FIELDS: dict[str, tuple[str, ...]] = {
    "eventType": ("a.b", "a.b.c.d.e", "a." + "b" * 126),
    "actorId": ("x" * 255, "😀" * 255, " ", "a/b%2F?#", "<script>", "\u202e", "=1+1"),
    "resourceId": (RUN.upper(), "00000000-0000-0000-0000-000000000000"),
    "occurredAt": (
        *("0001-01-01T00:00:00Z", "2026-01-02t03:04:05z", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05-00:00"),
        *("2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05+23:59"),
    ),
    "correlationId": ("x" * 255, "a/b//c", "..", ".", "%00", "?limit=0", "😀" * 255),
    "causationId": ("x" * 255, "not a uuid"),
    "outcome": ("none",),
    "tenantId": ("acme",),
}


def fields() -> Iterator[Case]:
    for name in (*REQUIRED, *NULLABLE, "tenantId"):
        for kind, value in WRONG_KINDS.items():
            yield Case(f"{name}: {kind}", field(name, value), "refused")
        if name != "outcome":
            yield Case(f"{name}: empty", field(name, b'""'), "refused")
        yield Case(f"{name}: a surrogate", field(name, b'"zq9x\\ud800"'), "refused")
        yield Case(f"{name}: null", field(name, b"null"), "stored" if name in NULLABLE else "refused")
    for name in REQUIRED:
        left = {key: value for key, value in EVENT.items() if key != name}
        yield Case(f"{name}: missing", post(json.dumps(left).encode()), "refused")
    for name, values in BAD_FIELDS.items():
        for number, word in enumerate(values):
            yield Case(f"{name}: refused {number}", field(name, text(word)), "refused")
    for name, values in GOOD_FIELDS.items():
        for number, word in enumerate(values):
            yield Case(f"{name}: stored {number}", field(name, text(word)), "stored")
    own = "6b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0009"
    yield Case("causationId: itself", post(json.dumps(EVENT | {"id": own, "causationId": own}).encode()), "refused")


# ------------------------------------------------------------------------------------------------------------ framing

SIZE = b"Content-Length: %d" % len(GOOD)
CHUNKED = b"Transfer-Encoding: chunked"


def chunks(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end


def framed(*headers: bytes, body: bytes = GOOD) -> bytes:
    return raw(LINE, HOST, KEY, JSON, *headers, body=body)


FRAMING: dict[str, tuple[bytes, Expect]] = {
    "chunked": (framed(CHUNKED, body=chunks(GOOD[:9], GOOD[9:])), "stored"),
    "one byte a chunk": (framed(CHUNKED, body=chunks(*(GOOD[n : n + 1] for n in range(len(GOOD))))), "stored"),
    "a chunk extension": (framed(CHUNKED, body=b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)), "stored"),
    "a trailer": (framed(CHUNKED, body=chunks(GOOD, end=b"0\r\nX-A: zq9x\r\n\r\n")), "stored"),
    "expect continue": (framed(SIZE, b"Expect: 100-continue"), "stored"),
    "header names in capitals": (framed(SIZE.upper(), b"X-A: b"), "stored"),
    "no length": (framed(body=b""), "refused"),
    "too short a body": (framed(b"Content-Length: %d" % (len(GOOD) + 9)), "cut"),
    "half a head": (raw(LINE, HOST)[:-4], "cut"),
    "half a request line": (b"POST /api/v1/eve", "cut"),
    "half a chunk": (framed(CHUNKED, body=chunks(GOOD[:9], end=b"ff\r\n{")), "cut"),
    "no last chunk": (framed(CHUNKED, body=chunks(GOOD, end=b"")), "cut"),
    "an endless trailer": (framed(CHUNKED, body=chunks(GOOD, end=b"0\r\nX: " + b"y" * 1_000_000)), "refused"),
    "many trailers": (framed(CHUNKED, body=chunks(GOOD, end=b"0\r\n" + b"X: y\r\n" * 20_000)), "refused"),
    "an endless chunk extension": (framed(CHUNKED, body=b"5;" + b"y" * 1_000_000), "refused"),
    "a shorter length": (framed(b"Content-Length: 10"), "refused"),
    "a negative length": (framed(b"Content-Length: -1"), "refused"),
    "a length with a sign": (framed(b"Content-Length: +%d" % len(GOOD)), "refused"),
    "a length in hexadecimal": (framed(b"Content-Length: 0xff"), "refused"),
    "a length that is none": (framed(b"Content-Length: zq9x"), "refused"),
    "an empty length": (framed(b"Content-Length:"), "refused"),
    "a length beyond 64 bits": (framed(b"Content-Length: 99999999999999999999"), "refused"),
    "a length of 4 GiB": (framed(b"Content-Length: 4294967296"), "refused"),
    "two lengths": (framed(SIZE, b"Content-Length: 1"), "refused"),
    "two equal lengths": (framed(SIZE, SIZE), "refused"),
    "a list of lengths": (framed(b"Content-Length: 5, 5"), "refused"),
    "a length with an underscore": (framed(b"Content_Length: 5", body=b""), "refused"),
    "a length and chunks": (framed(SIZE, CHUNKED, body=chunks(GOOD)), "refused"),
    "chunks and a length": (framed(CHUNKED, SIZE, body=chunks(GOOD)), "refused"),
    "a chunk size that is none": (framed(CHUNKED, body=b"zq9x\r\n" + GOOD), "refused"),
    "a negative chunk size": (framed(CHUNKED, body=b"-5\r\n" + GOOD), "refused"),
    "a chunk size beyond 64 bits": (framed(CHUNKED, body=b"f" * 17 + b"\r\n" + GOOD), "refused"),
    "a chunk that is longer": (framed(CHUNKED, body=b"5\r\n" + GOOD + b"\r\n0\r\n\r\n"), "refused"),
    "a chunk size with a prefix": (framed(CHUNKED, body=b"0x5\r\n" + GOOD), "refused"),
    "chunked twice": (framed(b"Transfer-Encoding: chunked, chunked", body=chunks(GOOD)), "refused"),
    "chunked, then gzip": (framed(b"Transfer-Encoding: chunked, gzip", body=chunks(GOOD)), "refused"),
    "an unknown coding": (framed(b"Transfer-Encoding: zq9x"), "refused"),
    "an identity coding": (framed(b"Transfer-Encoding: identity", SIZE), "refused"),
    "a coding with a tab": (framed(b"Transfer-Encoding: \x0bchunked", body=chunks(GOOD)), "refused"),
    "a space before the colon": (framed(b"Content-Length : %d" % len(GOOD)), "refused"),
    "a header without a colon": (framed(SIZE, b"zq9x"), "refused"),
    "a header without a name": (framed(SIZE, b": zq9x"), "refused"),
    "a nul in a header": (framed(SIZE, b"X-A: a\0b"), "refused"),
    "a nul in a header's name": (framed(SIZE, b"X-\0A: zq9x"), "refused"),
    "a lone carriage return": (framed(SIZE, b"X-A: a\rX-B: zq9x"), "refused"),
    "a folded length": (framed(b"Content-Length:\r\n %d" % len(GOOD), b"X-A: zq9x"), "refused"),
    "a folded header": (framed(SIZE, b"X-A: a\r\n zq9x"), "refused"),
    "a space before the first header": (raw(LINE, b" X-A: zq9x", HOST, KEY, JSON, SIZE, body=GOOD), "refused"),
    "line feeds alone": (framed(SIZE).replace(b"\r\n", b"\n"), "refused"),
    "a header of 40 KiB": (framed(SIZE, b"X-A: " + b"a" * (40 * KIB)), "refused"),
    "a head of 200 KiB": (framed(SIZE, *(b"X-%d: %b" % (n, b"a" * 100) for n in range(2000))), "refused"),
    "a header's name of 40 KiB": (framed(SIZE, b"X-" + b"a" * (40 * KIB) + b": b"), "refused"),
    "an address of 40 KiB": (get("/api/v1/events?actor_id=" + "a" * 40 * KIB), "refused"),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "refused"),
    "HTTP/0.9": (b"GET /api/v1/events\r\n\r\n", "refused"),
    "HTTP/3.0": (raw(b"GET /api/v1/events HTTP/3.0", HOST, KEY), "refused"),
    "HTTP/1.x": (raw(b"GET /api/v1/events HTTP/1.x", HOST, KEY), "refused"),
    "lower-case http": (raw(b"GET /api/v1/events http/1.1", HOST, KEY), "refused"),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100, "refused"),
    "binary": (bytes(range(256)) * 4, "refused"),
    "an unknown method": (get("/api/v1/events", b"ZQ9X"), "refused"),
    "a lower-case method": (get("/api/v1/events", b"get"), "refused"),
    "PUT": (get("/api/v1/events", b"PUT"), "refused"),
    "PATCH": (get("/api/v1/events", b"PATCH"), "refused"),
    "DELETE": (get("/api/v1/events", b"DELETE"), "refused"),
    "TRACE": (get("/api/v1/events", b"TRACE"), "refused"),
    "CONNECT": (raw(b"CONNECT example.com:443 HTTP/1.1", HOST, KEY), "refused"),
    "an upgrade": (raw(b"GET /api/v1/events HTTP/1.1", HOST, KEY, b"Connection: upgrade", b"Upgrade: zq9x"), "read"),
    "HTTP/1.0": (raw(b"GET /api/v1/events HTTP/1.0", KEY), "read"),
    "a GET with a body": (raw(b"GET /api/v1/events HTTP/1.1", HOST, KEY, SIZE, body=GOOD), "read"),
    "no credential": (raw(LINE, HOST, JSON, SIZE, body=GOOD), "refused"),
    "a bad credential": (raw(LINE, HOST, b"X-API-Key: zq9x", JSON, SIZE, body=GOOD), "refused"),
    "two credentials": (framed(SIZE, KEY), "refused"),
    "a credential with a nul": (raw(LINE, HOST, b"X-API-Key: a\0b", JSON, SIZE, body=GOOD), "refused"),
    "a credential in Latin-1": (raw(LINE, HOST, b"X-API-Key: \xe9\xff", JSON, SIZE, body=GOOD), "refused"),
    "a bad idempotency key": (framed(SIZE, b"Idempotency-Key: \xff"), "refused"),
    "a long idempotency key": (framed(SIZE, b"Idempotency-Key: " + b"a" * 256), "refused"),
    "two idempotency keys": (framed(SIZE, b"Idempotency-Key: a", b"Idempotency-Key: b"), "refused"),
    "a request id with a script": (framed(SIZE, b"X-Request-Id: <script>zq9x</script>"), "stored"),
    "a good event, then no HTTP": (framed(SIZE) + b"zq9x zq9x\r\n\r\n", "stored"),
    "a good event, then a bad head": (framed(SIZE) + b"GET / HTTP/1.1\r\nX-\0: zq9x\r\n\r\n", "stored"),
}


def framing() -> Iterator[Case]:
    for name, (request, expect) in FRAMING.items():
        yield Case(f"framing: {name}", request, expect)


# -------------------------------------------------------------------------------------------------- types and codings

ZSTD = zstandard.ZstdCompressor()
BOMB = gzip.compress(b" " * (64 * KIB * KIB))

MEDIA: dict[str, tuple[bytes | None, bytes, Expect]] = {
    "none": (None, GOOD, "stored"),
    "a form, as curl says": (b"application/x-www-form-urlencoded", GOOD, "stored"),
    "a form": (b"application/x-www-form-urlencoded", b"a=zq9x", "refused"),
    "in capitals": (b"APPLICATION/JSON", GOOD, "stored"),
    "utf-8": (b'application/json; charset="utf-8"', GOOD, "stored"),
    "latin-1": (b"application/json; charset=latin-1", GOOD, "refused"),
    "utf-16": (b"application/json; charset=utf-16", GOOD, "refused"),
    "text": (b"text/plain", GOOD, "refused"),
    "xml": (b"application/xml", GOOD, "refused"),
    "html": (b"text/html", GOOD, "refused"),
    "multipart": (b"multipart/form-data; boundary=x", b"--x\r\n\r\nzq9x\r\n--x--", "refused"),
    "none at all": (b"zq9x", GOOD, "refused"),
    "any": (b"*/*", GOOD, "refused"),
    "binary": (b"\xff\xfe", GOOD, "refused"),
    "two": (b"application/json, text/plain", GOOD, "refused"),
    "cloudevents": (b"application/cloudevents+json", GOOD, "refused"),
    "lines": (b"application/x-ndjson", GOOD, "refused"),
}

CODINGS: dict[str, tuple[bytes, bytes, Expect]] = {
    "gzip": (b"gzip", gzip.compress(GOOD), "stored"),
    "zstd": (b"zstd", ZSTD.compress(GOOD), "stored"),
    "identity": (b"identity", GOOD, "stored"),
    "two members": (b"gzip", gzip.compress(GOOD[:9]) + gzip.compress(GOOD[9:]), "stored"),
    "gzip that is none": (b"gzip", GOOD, "refused"),
    "zstd that is none": (b"zstd", GOOD, "refused"),
    "gzip, cut": (b"gzip", gzip.compress(GOOD)[:-4], "refused"),
    "zstd, cut": (b"zstd", ZSTD.compress(GOOD)[:-4], "refused"),
    "gzip with a bad sum": (b"gzip", gzip.compress(GOOD)[:-8] + b"\0" * 8, "refused"),
    "gzip and a tail": (b"gzip", gzip.compress(GOOD) + b"zq9x", "refused"),
    "gzip of nothing": (b"gzip", gzip.compress(b""), "refused"),
    "a bomb": (b"gzip", BOMB, "refused"),
    "a zstd bomb": (b"zstd", ZSTD.compress(b" " * (64 * KIB * KIB)), "refused"),
    "a zstd frame of a huge window": (b"zstd", b"\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00", "refused"),
    "twice": (b"gzip, gzip", gzip.compress(gzip.compress(GOOD)), "refused"),
    "brotli": (b"br", GOOD, "refused"),
    "deflate": (b"deflate", GOOD, "refused"),
    "unknown": (b"zq9x", GOOD, "refused"),
}


def media() -> Iterator[Case]:
    for name, (sent, body, expect) in MEDIA.items():
        yield Case(f"type: {name}", post(body, media=None if sent is None else b"Content-Type: " + sent), expect)
    for name, (sent, body, expect) in CODINGS.items():
        yield Case(f"coding: {name}", post(body, b"Content-Encoding: " + sent), expect)
    yield Case("type: twice", post(GOOD, b"Content-Type: text/plain"), "refused")
    yield Case("type: a binary CloudEvent without attributes", post(b"{}", b"ce-specversion: 1.0"), "refused")
    yield Case("type: a bad escape in a CloudEvent", post(b"{}", b"ce-id: %zz", b"ce-type: zq9x"), "refused")


# -------------------------------------------------------------------------------------------------------- query strings

BAD_QUERIES = (
    *("limit=0", "limit=101", "limit=-1", "limit=1_0", "limit=10.0", "limit=", "limit=+1", "limit=%EF%BC%91"),
    *(
        "limit=1e1",
        "limit=zq9x",
        "limit=1&limit=1",
        "limit=1%00",
        "limit=" + "9" * 5000,
        "limit[]=1",
        "LIMIT=1",
        "limit=%31%zz",
    ),
    *(
        "limit=1?",
        "offset=-1",
        "offset=9223372036854775808",
        "offset=1.5",
        "offset=",
        "offset=0&offset=0",
        "offset=%20",
    ),
    *("from=now", "from=infinity", "from=1", "from=1700000000", "from=2026-13-01", "from=2026-01-01T24:00:00Z"),
    *("from=2026-01-01&from=2026-01-01", "from=2026-02-01&to=2026-01-01", "to=zq9x", "to=-1x", "to=-999999999999w"),
    *("from=", "from=2026-01-01T00:00:60Z", "to=0000-01-01", "from=%00", "from=" + "1" * 5000),
    *("cursor=zq9x", "cursor=", "cursor=" + "A" * 88, "cursor=%FF", "cursor=" + "A" * 88 + "&offset=1"),
    *("as_of=-1", "as_of=9223372036854775807", "as_of=zq9x", "order=up", "order=", "include=zq9x", "include="),
    *("event_type=", "event_type=*", "event_type=" + "a" * 129, "resource_type=zq9x", "resource_type="),
    *("resource_id=1", "resource_id=" + RUN.replace("-", ""), "actor_id=", "actor_id=%00", "actor_id=" + "a" * 256),
    *("actor_type=zq9x", "outcome=ok", "correlation_id=", "correlation_id=%0A", "causation_id=%7F", "actor_id=%FF"),
    *(
        "actor_id=%C0%80",
        "actor_id=%ED%A0%80",
        "actor_id=%",
        "actor_id=%1",
        "actor_id=%zz",
        "%FF=1",
        "%zz=1",
        "=1",
        "tenant_id=acme",
    ),
    *("&".join(f"actor_id=a{n}" for n in range(21)), "&".join(f"k{n}=1" for n in range(3000)), "zq9=1;limit=1"),
)

GOOD_QUERIES = (
    *("", "&", "&&&", "limit=100", "limit=%31", "limit=001", "offset=9223372036854775807", "from=2026-01-01"),
    *("from=-15m", "from=2026-01-01T00:00:00+01:00", "from=2026-01-01T00:00:00%2B01:00"),
    *("from=2026-01-01%2000:00:00Z", "causation_id=%3Cscript%3E"),
    *("from=2026-01-01&to=2026-01-01", "event_type=zq9x", "event_type='%20OR%201=1--", "event_type=action_run.*"),
    *("actor_id='%20OR%20'1'='1", "actor_id=%F0%9F%98%80", "actor_id=a+b", "actor_id=%25%5F", "correlation_id=a/b%2Fc"),
    *("include=position,recordedAt,outcome", "&".join(f"actor_id=a{n}" for n in range(20))),
)


def queries() -> Iterator[Case]:
    for known, expect in ((BAD_QUERIES, "refused"), (GOOD_QUERIES, "read")):
        for number, query in enumerate(known):
            case = get("/api/v1/events?" + query)
            yield Case(f"query {expect} {number}: {query[:30]}", case, "read" if expect == "read" else "refused")
    for path in ("aggregate", "stats/by-actor", f"resource/action_run/{RUN}", "correlation/a", RUN):
        for query in ("zq9=1", "from=zq9x", "%FF=1", "limit=zq9x"):
            yield Case(f"query of {path[:20]}: {query}", get(f"/api/v1/events/{path}?{query}"), "refused")
    for query in ("zq9=1", "atomic=true", "%FF=1", "a=1&" * 5000):
        yield Case(
            f"query of a POST: {query[:20]}",
            raw(b"POST /api/v1/events?%b HTTP/1.1" % query.encode(), HOST, KEY, JSON, SIZE, body=GOOD),
            "refused",
        )


# -------------------------------------------------------------------------------------------------------------- paths

BAD_PATHS: tuple[str | bytes, ...] = (
    *("//", "/api", "/api/v1", "/api/v1//events", "//api/v1/events"),
    *("/API/v1/events", "/api/v1/events/zq9x", "/api/v1/events/%00", "/api/v1/events/%FF", "/api/v1/events/..%2Fkeys"),
    *("/api/v1/events/" + RUN, "/api/v1/events/" + RUN.replace("-", ""), "/api/v1/events/%7B" + RUN + "%7D"),
    *("/api/v1/events/" + "a" * 3000, "/api/v1/events/a/b", "/api/v1/events/aggregate/x"),
    *("/api/v1/events/correlation", "/api/v1/events/correlation/%FF", "/api/v1/events/correlation/%C0%AF"),
    *("/api/v1/events/correlation/%00", "/api/v1/events/correlation/" + "a" * 256),
    *("/api/v1/events/correlation/%ED%A0%80", "/api/v1/events/1", f"/api/v1/events/resource/%FF/{RUN}"),
    *("/api/v1/events/resource", "/api/v1/events/resource/action_run", "/api/v1/events/resource/action_run/1"),
    *(f"/api/v1/events/resource/zq9x/{RUN}", f"/api/v1/events/resource/action_run/{RUN}/x"),
    *("/api/v1/events/stats", "/api/v1/events/stats/by-actor/x", "/api/v1/keys/%00", "/etc/passwd"),
    *("/%2e%2e/%2e%2e/etc/passwd", "/docs/../../etc/passwd", "/docs/%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
    *("/../../etc/passwd", "/static/..%5c..%5cx"),
    *("/.git/config", "/.env", "/%", "/%zz", "/zq9x?" + "a" * 1000, "*", b"/\xff\xfe", b"/api/v1/events/\xe2\x82\xac"),
    *("http://localhost", "http://", "ftp://zq9x/api", "?limit=1", "zq9x", b"/api/v1/events\tx", b"/a b"),
)

REDIRECTED_PATHS = ("/api/v1/", "/api/v1/events/", "/api/v1/events/aggregate/")
"""They lead to the address without the slash at the end."""

GOOD_PATHS = (
    *("/api/v1/events", "http://zq9x.example/api/v1/events", "/api/v1/events/correlation/a/b", "/livez", "/readyz"),
    *("/api/v1/events/correlation/a%2Fb%2F%2Fc", "/api/v1/events/correlation/..", "/api/v1/events/correlation/%252e"),
    *("/api/v1/events/correlation//", "/api/v1/events/correlation/%E2%82%AC"),
    *(
        f"/api/v1/events/resource/action_run/{RUN}",
        "/api/v1/%65vents",
        "/api/v1/events#zq9x",
        "/api/v1/events?as_of=0",
        "/api/v1/events/aggregate",
    ),
)


def paths() -> Iterator[Case]:
    for number, path in enumerate(BAD_PATHS):
        yield Case(f"path refused {number}: {path[:40]!r}", get(path), "refused")
    for path in REDIRECTED_PATHS:
        yield Case(f"path redirected: {path}", get(path), "redirected")
    for number, path in enumerate(GOOD_PATHS):
        yield Case(f"path read {number}: {path[:40]}", get(path), "read")


ALL: tuple[Case, ...] = (*payloads(), *bodies(), *fields(), *framing(), *media(), *queries(), *paths())
"""Every case. Names are unique."""
