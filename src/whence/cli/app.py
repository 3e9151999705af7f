"""Parses the arguments, runs the command, and turns its errors into a sentence and an exit code."""

import io
import os
import re
import sys
from collections.abc import Sequence
from typing import get_args

from cyclopts import App, CycloptsError, MissingArgumentError, UnknownCommandError, UnusedCliTokensError

from whence.cli import COMMANDS, FAILED, INTERRUPTED
from whence.cli.help_text import HelpText
from whence.cli.profiles import KeyRefused
from whence.cli.terminal import printable, say
from whence.client import Unreachable
from whence.errors import Forbidden, Invalid, NotFound, RolledBack, Unauthenticated, Unsound, WhenceError

__all__ = ["EXIT_CODES", "FAILED", "UNSOUND", "USAGE", "make_app", "run"]

USAGE = 2
UNSOUND = 5

EXIT_CODES: dict[type[WhenceError], int] = {
    Invalid: USAGE,
    NotFound: 3,
    Unauthenticated: 4,
    Forbidden: 4,
    RolledBack: UNSOUND,
    Unsound: UNSOUND,
    Unreachable: 6,
}
"""The exit code of each error class; all others get FAILED."""

_HINTS: dict[type[WhenceError], str] = {
    Unauthenticated: "Pass a key with --api-key or WHENCE_API_KEY; 'whence key create' makes one.",
    Unreachable: "Start a server with 'whence serve' or 'whence demo', or name one with --url or WHENCE_URL.",
}

_REQUIRES = re.compile(r'^Command "([^"]+)" parameter (\S+) requires an argument\.')
"""How cyclopts says that a value is missing, before what it guesses was meant."""


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Shows a traceback only if WHENCE_DEBUG is set."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without Unicode
    try:
        code = make_app()(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        say(f"{_one_line(_usage_sentence(error, arguments))} See 'whence {_command(error, arguments)}--help'.")
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return FAILED  # the reader of the output has quit
    except Exception as error:
        if os.environ.get("WHENCE_DEBUG"):
            raise
        return _report(error)
    return code if isinstance(code, int) else 0


def make_app() -> App:
    """The parser of all commands. A command is imported when it is used."""
    app = App(name="whence", help_format="plaintext", help_formatter=HelpText(), version_flags=[])
    for name, (import_path, summary) in COMMANDS.items():
        app.command(import_path, name=name, help=summary)
    return app


def _report(error: Exception) -> int:
    """Print what is wrong, and return the exit code for it."""
    if isinstance(error, WhenceError):
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        say(_one_line(f"{error}{notes} {_hint(error)}"))
        return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), FAILED)
    if isinstance(error, ImportError):
        missing = _missing(error)
        if missing:
            say(f"This command needs the server, and {missing} is not installed. Run: pip install 'whence[server]'")
            return FAILED
    if isinstance(error, UnicodeEncodeError):
        say("An argument is not UTF-8 text.")  # only arguments can hold surrogates
        return USAGE
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if isinstance(error.filename, str) else ""
        say(_one_line(f"{name}{error.strerror}."))
        return FAILED
    say(f"Unexpected error: {type(error).__name__}. Set WHENCE_DEBUG=1 to see where it happened.")
    return FAILED


def _hint(error: WhenceError) -> str:
    """What to do about an error; empty if its sentence says it."""
    if isinstance(error, KeyRefused):
        return error.hint
    return next((hint for kind, hint in _HINTS.items() if isinstance(error, kind)), "")


def _usage_sentence(error: CycloptsError, arguments: Sequence[str]) -> str:
    """What is wrong with the arguments, in the words of a user."""
    if isinstance(error, UnknownCommandError) and arguments[0].startswith("-"):
        return "Options stand after the command, as in 'whence list --limit 5'."
    if isinstance(error, UnusedCliTokensError) and not any(each.startswith("-") for each in error.unused_tokens or ()):
        return "The command takes no such argument: its values are passed with options."
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        passed = error.keyword is not None or error.argument.tokens
        needs = r"\2 needs a value." if passed else r"'whence \1' needs \2."
        sentence = _REQUIRES.sub(needs, str(error))
        choices = get_args(error.argument.hint)
        if choices and all(isinstance(choice, str) for choice in choices):
            return f"{sentence} It is one of: {', '.join(choices)}."
        return sentence
    return str(error)


def _missing(error: BaseException | None) -> str | None:
    """The third-party package whose absence caused the error, or None."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("whence"):
            return error.name.partition(".")[0]
        error = error.__cause__
    return None


def _command(error: CycloptsError, arguments: Sequence[str]) -> str:
    """The command whose help says more, with a space after it."""
    known = arguments[0] in COMMANDS
    return f"{' '.join(error.command_chain or arguments[:1])} " if known else ""


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))
