"""A client refuses options that it does not have, and values that an option does not take."""

from pathlib import Path
from typing import Any

import pytest

from whence import AsyncWhence, Whence
from whence.client import ClientOptions
from whence.client.options import check_options
from whence.errors import WhenceError

URL = "http://127.0.0.1:9"


@pytest.mark.parametrize("client", [Whence, AsyncWhence])
@pytest.mark.parametrize(("wrong", "right"), [("before_sned", "before_send"), ("flush_on_signal", "flush_on_signals")])
def test_an_unknown_option_is_refused(client: Any, wrong: str, right: str) -> None:
    """A misspelt before_send would send what should have been scrubbed."""
    with pytest.raises(TypeError, match=f"{client.__name__}.*unexpected keyword argument '{wrong}'.*'{right}'"):
        client(URL, "whk_x", **{wrong: print})


@pytest.mark.parametrize(
    ("option", "value", "takes"),
    [
        ("on_full", "blokc", "one of: spill, drop, raise, block"),
        ("on_full", None, "one of: "),
        ("queue_events_max", -1, "a whole number, 1 or more"),
        ("queue_events_max", 0, "a whole number, 1 or more"),
        ("queue_bytes_max", 1e6, "a whole number, 1 or more"),
        ("spool_bytes_max", True, "a whole number, 0 or more"),
        ("block_timeout_s", None, "a finite number of seconds, 0 or more"),
        ("exit_timeout_s", "5", "a finite number of seconds, 0 or more"),
        ("exit_timeout_s", float("nan"), "a finite number of seconds, 0 or more"),
        ("timeout_s", float("inf"), "a finite number of seconds, 0 or more"),
        ("timeout_s", -1, "a finite number of seconds, 0 or more"),
        ("retries", "3", "a whole number, 0 or more"),
        ("disabled", "no", "True or False"),
        ("flush_on_signals", "no", "True or False"),
        ("spool", True, "the path of a folder, or False"),
        ("spool", "", "the path of a folder, or False"),
        ("tenant", 7, "a text"),
        ("profile", Path("x"), "a text"),
        ("proxy", 8080, "a text"),
        ("jwt_secret", b"secret", "a text"),
        ("jwt_claims", "role", "a mapping"),
        ("before_send", "scrub", "a function"),
        ("default", {}, "a function"),
        ("on_error", True, "a function"),
        ("http_client", 1, "a function"),
        ("ca", True, "a path"),
        ("client_cert", ("cert.pem",), "a path, or a pair of two paths"),
    ],
)
def test_a_wrong_value_is_refused(option: str, value: Any, takes: str) -> None:
    """The sentence names the option and what it takes."""
    wrong: dict[str, Any] = {option: value}
    with pytest.raises(WhenceError, match=f"^The option {option} takes {takes}"):
        Whence(URL, "whk_x", **wrong)


@pytest.mark.parametrize("option", ClientOptions.__annotations__)
def test_every_option_is_checked(option: str) -> None:
    """No option takes a value of any type."""
    with pytest.raises(WhenceError, match=f"^The option {option} takes "):
        check_options("Whence", {option: object()})
