"""Sends the hostile corpus to any server with this API, and reports its failures."""

import http.client
import re
import socket
from collections.abc import Iterable
from typing import Any

import msgspec

from tests.acceptance.hostile_corpus import MARK, Case

__all__ = ["Target"]

Address = tuple[str, int]

_METHOD = re.compile(rb"[A-Z]+")
_PROBLEM = {"loc", "msg", "type"}
_TELLTALE = re.compile(
    rb"Traceback|\.py\b|msgspec|litestar|uvicorn|sqlite|apsw|postgres|asyncpg|File \"", re.IGNORECASE
)
_SHOWN = 160


class Target:
    """A server under test, and a key with read and write scopes."""

    def __init__(self, address: Address, key: str, patience_s: float = 8.0) -> None:
        self.address = address
        self.key = key
        self.patience_s = patience_s
        self.stored = 0
        self._lists = http.client.HTTPConnection(*address, timeout=patience_s)

    def failures(self, cases: Iterable[Case]) -> dict[str, str]:
        """The cases that the server answers wrongly, by name, with the fault."""
        found = {}
        for case in cases:
            wrong = self._try(case)
            if wrong:
                found[case.name] = wrong
        return found

    def _try(self, case: Case) -> str:
        answer = self._send(case)
        wrong = _judge(case, *answer)
        if case.expect == "stored" and not wrong:
            self.stored += 1
            wrong = self._read_back(answer)
        left_behind = self._look(case)
        return wrong or left_behind

    def _send(self, case: Case) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the first answer; status 0 for none."""
        request = case.request.replace(b"@KEY@", self.key.encode())
        method = _METHOD.match(request)
        with socket.create_connection(self.address, timeout=self.patience_s) as connection:
            try:
                connection.sendall(request)
                if case.expect == "cut":
                    connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # refused before the whole request was read; there may be an answer
            try:
                answer = http.client.HTTPResponse(connection, method=method[0].decode() if method else "GET")
                answer.begin()
                body = answer.read()
            except (OSError, http.client.HTTPException, ValueError):
                return 0, {}, b""
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body

    def _read_back(self, answer: tuple[int, dict[str, str], bytes]) -> str:
        """Whether a stored event is returned by a read exactly as in the response to the POST."""
        _, headers, body = answer
        status, again = self._get(headers.get("location", "/"))
        return "" if (status, again) == (200, body) else f"stored, but read back as {status} {again[:_SHOWN]!r}"

    def _look(self, case: Case) -> str:
        """Whether the list and the counts still answer, and contain exactly the stored events."""
        for path in ("/api/v1/events?limit=100", "/api/v1/events/aggregate"):
            status, body = self._get(path)
            if status != 200:
                return f"after it {path} answers {status}"
            total = msgspec.json.decode(body)["total"]
            if total != self.stored:
                change, self.stored = total - self.stored, total
                return f"{case.expect}, but the log grew by {change}"
        return ""

    def _get(self, path: str) -> tuple[int, bytes]:
        try:
            self._lists.request("GET", path, headers={"X-API-Key": self.key})
            answer = self._lists.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._lists.close()
            return 0, b""


def _judge(case: Case, status: int, headers: dict[str, str], body: bytes) -> str:
    """The fault of an answer, or an empty text."""
    if case.expect == "cut" and status == 0:
        return ""
    shown = f"{status} {body[:_SHOWN]!r}"
    if case.expect in ("stored", "read", "redirected"):
        return (
            ""
            if status == {"stored": 201, "read": 200, "redirected": 308}[case.expect]
            else f"{case.expect} expected: {shown}"
        )
    if not 400 <= status < 500:
        return f"a refusal expected: {shown}"
    if MARK.encode() in body or any(MARK in value for value in headers.values()):
        return f"an echo: {shown}"
    if _TELLTALE.search(body):
        return f"it tells of its inside: {shown}"
    if headers.get("content-type") != "application/json" or "x-request-id" not in headers:
        return f"not the headers of an error: {shown} {headers}"
    return "" if _is_error(status, headers, body) or case.request.startswith(b"HEAD") else f"no error body: {shown}"


def _is_error(status: int, headers: dict[str, str], body: bytes) -> bool:
    """Whether a body has one of the two error shapes."""
    try:
        parsed: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return False
    if not isinstance(parsed, dict):
        return False
    if status != 422:
        return parsed.keys() == {"detail", "code", "requestId"} and parsed["requestId"] == headers["x-request-id"]
    problems = parsed.get("detail")
    return (
        parsed.keys() == {"detail"}
        and isinstance(problems, list)
        and len(problems) > 0
        and all(isinstance(problem, dict) and problem.keys() == _PROBLEM for problem in problems)
    )
