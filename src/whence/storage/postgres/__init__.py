"""The store for many server processes: one PostgreSQL database, one tenant a transaction."""
