"""Nouns to bytes and back: events, pages, counts, queries, CloudEvents. The only place that knows camelCase.

Nothing in here does I/O. The server and the client share it.
"""
