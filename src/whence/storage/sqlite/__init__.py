"""The embedded store: one SQLite file, one writer, several readers."""
