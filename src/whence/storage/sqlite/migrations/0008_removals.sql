-- What the removal of payloads and of events leaves in a log.

-- When the payload was erased; null before. Like envelope_version after the payload, in the header of the record.
ALTER TABLE event ADD COLUMN erased_at INTEGER;

-- When the id of the actor was replaced; null before. Its events are then proven by their leaves alone.
ALTER TABLE actor ADD COLUMN erased_at INTEGER;

-- How many kinds have no event any more. Their numbers are not given again.
ALTER TABLE tenant ADD COLUMN kinds_removed INTEGER NOT NULL DEFAULT 0;
-- How many flows are gone. PostgreSQL counts the rows of flows instead.
ALTER TABLE tenant ADD COLUMN flows_removed INTEGER NOT NULL DEFAULT 0;
-- When the last of the events that were removed was recorded. An event that was sent before may be one of them.
ALTER TABLE tenant ADD COLUMN removed_recorded_at INTEGER NOT NULL DEFAULT 0;

-- The transitions of events that were removed, which are subtracted from `transition`. In the same form, with the first
-- position that was kept then as `up_to`.
CREATE TABLE removed_transition (
    tenant_no INTEGER NOT NULL,
    level     INTEGER NOT NULL,
    bucket    INTEGER NOT NULL,
    up_to     INTEGER NOT NULL,
    counts    BLOB    NOT NULL,
    PRIMARY KEY (tenant_no, level, bucket, up_to)
) STRICT;

-- From here on, `tile` has tiles of level 0 too: the leaves of the positions before `retained_from`.
