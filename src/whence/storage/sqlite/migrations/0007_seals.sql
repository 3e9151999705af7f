-- What makes a log provable from outside: its signed checkpoints, and the hashes of its tree above the leaves. The last
-- size and root that were signed are kept outside of this file; see signed_record.py.

-- The name under which a tenant's log is signed. The highest epoch is in use.
CREATE TABLE origin (
    tenant_no INTEGER NOT NULL,
    epoch     INTEGER NOT NULL,                   -- from 1
    size      INTEGER NOT NULL,                   -- of the newest checkpoint; 0 before the first
    name      TEXT    NOT NULL,
    key       TEXT    NOT NULL,                   -- the key that verifies its checkpoints
    PRIMARY KEY (tenant_no, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoint (
    tenant_no INTEGER NOT NULL,
    epoch     INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    signed_at INTEGER NOT NULL,
    root      BLOB    NOT NULL,
    note      TEXT    NOT NULL,                   -- the whole text, with its signatures
    PRIMARY KEY (tenant_no, epoch, size)
) STRICT;

-- Tiles of level 1 and above, as in tiles.py. The last one of a level grows until it has 256 hashes.
CREATE TABLE tile (
    tenant_no INTEGER NOT NULL,
    level     INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    hashes    BLOB    NOT NULL,                   -- 32 bytes each
    PRIMARY KEY (tenant_no, level, number)
) STRICT;
