"""How commands that work on a store directly show its log messages."""

import sys

import structlog

__all__ = ["log_warnings_to_stderr"]


def log_warnings_to_stderr() -> None:
    """Print the store's warnings to stderr, one line each, without tracebacks.

    By default structlog prints to stdout, and shows the values of local variables, such as hashes of keys.
    """
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=lambda _file, _error: None)
    structlog.configure(
        processors=[structlog.processors.add_log_level, plain],
        wrapper_class=structlog.make_filtering_bound_logger(30),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
