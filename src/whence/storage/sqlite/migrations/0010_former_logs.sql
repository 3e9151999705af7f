-- The logs of tenants that were deleted. The row of such a tenant stays, so that its number is not given again, under a
-- name that no tenant can have: '/' and the number. Its other rows are removed after that, a part at a time.
--
-- PostgreSQL also has the table `erasure`. Here the ledger of erasures is a file, which `whence restore` reads.

CREATE TABLE former_log (
    number     INTEGER PRIMARY KEY,               -- the tenant's
    tenant     TEXT    NOT NULL,
    epoch      INTEGER NOT NULL,                  -- the highest one of its origins; 0 if it had none
    size       INTEGER NOT NULL,
    root       BLOB    NOT NULL,
    deleted_at INTEGER NOT NULL,
    removed    INTEGER NOT NULL DEFAULT 0         -- 1 once none of its rows is left
) STRICT;

CREATE INDEX former_log_tenant ON former_log (tenant);
