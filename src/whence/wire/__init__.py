"""The wire format: events, pages, counts, queries and CloudEvents as bytes. Only this package knows camelCase.

It does no I/O. The server and the client share it.
"""
