-- The logs of tenants that were deleted. The row of such a tenant stays, so that its number is not given again, under a
-- name that no tenant can have: '/' and the number. So does its head. Its other rows are removed after that, a part at a
-- time.

-- Not under row-level security, like `tenant`.
CREATE TABLE former_log (
    size       bigint NOT NULL,
    deleted_at bigint NOT NULL,
    number     int    PRIMARY KEY,                -- the tenant's
    epoch      int    NOT NULL,                   -- the highest one of its origins; 0 if it had none
    removed    int    NOT NULL DEFAULT 0,         -- 1 once none of its rows is left
    tenant     text   COLLATE "C" NOT NULL,
    root       bytea  NOT NULL
);

CREATE INDEX former_log_tenant ON former_log (tenant);

-- Which entries of the ledger of erasures this schema has seen. The ledger is in the schema `whence_signed`, which every
-- migration makes if it is missing. A schema that was restored from an earlier dump lacks some of them.
CREATE TABLE erasure (
    entry bigint PRIMARY KEY
);

GRANT SELECT ON former_log, erasure TO whence_app;
GRANT SELECT, INSERT, UPDATE ON former_log TO whence_keeper;
GRANT SELECT, INSERT ON erasure TO whence_keeper;

-- The rights to delete a tenant. The hashes of its keys stay unseen.
GRANT UPDATE (tenant) ON tenant TO whence_keeper;
GRANT SELECT (id, tenant, created_at), DELETE ON api_key TO whence_keeper;
GRANT SELECT (key_id, tenant), DELETE ON session TO whence_keeper;
GRANT SELECT, DELETE ON origin, checkpoint TO whence_keeper;
GRANT DELETE ON definition, tile, follower, payload_field TO whence_keeper;
