"""The log of a store, as commands that act on the store itself show it."""

import sys

import structlog

__all__ = ["tell_plainly"]


def tell_plainly() -> None:
    """Have the store's warnings on stderr, a line each.

    Left alone, they go to stdout, with the values of variables, hashes of keys among them. Where an error comes from is
    told by whoever catches it, with WHENCE_DEBUG.
    """
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=lambda _file, _error: None)
    structlog.configure(
        processors=[structlog.processors.add_log_level, plain],
        wrapper_class=structlog.make_filtering_bound_logger(30),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
