-- What makes a log provable from outside: its signed checkpoints, and the hashes of its tree above the leaves. The last
-- size and root that were signed are in the schema `whence_signed`, which every migration makes if it is missing.

-- The name under which a tenant's log is signed. The highest epoch is in use.
CREATE TABLE origin (
    size      bigint NOT NULL,                    -- of the newest checkpoint; 0 before the first
    tenant_no int    NOT NULL,
    epoch     int    NOT NULL,                    -- from 1
    name      text   COLLATE "C" NOT NULL,
    key       text   NOT NULL,                    -- the key that verifies its checkpoints
    PRIMARY KEY (tenant_no, epoch)
);

CREATE TABLE checkpoint (
    size      bigint NOT NULL,
    signed_at bigint NOT NULL,
    tenant_no int    NOT NULL,
    epoch     int    NOT NULL,
    root      bytea  NOT NULL,
    note      text   NOT NULL,                    -- the whole text, with its signatures
    PRIMARY KEY (tenant_no, epoch, size)
);

-- Tiles of level 1 and above, as in tiles.py. The last one of a level grows until it has 256 hashes.
CREATE TABLE tile (
    number    bigint NOT NULL,
    tenant_no int    NOT NULL,
    level     int    NOT NULL,
    hashes    bytea  NOT NULL,                    -- 32 bytes each
    PRIMARY KEY (tenant_no, level, number)
);

-- Hashes do not compress.
ALTER TABLE tile ALTER COLUMN hashes SET STORAGE EXTERNAL;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['origin', 'checkpoint', 'tile'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY one_tenant ON %I USING '
                       '(tenant_no = NULLIF(current_setting(''whence.tenant_no'', true), '''')::int)', name);
    END LOOP;
END
$$;

GRANT SELECT, INSERT, UPDATE ON origin, tile TO whence_app;
GRANT SELECT, INSERT, DELETE ON checkpoint TO whence_app;
