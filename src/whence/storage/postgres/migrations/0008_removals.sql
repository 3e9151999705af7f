-- What the removal of payloads and of events leaves in a log.

-- When the payload was erased; null before.
ALTER TABLE event ADD COLUMN erased_at bigint;

-- When the id of the actor was replaced; null before. Its events are then proven by their leaves alone.
ALTER TABLE actor ADD COLUMN erased_at bigint;

-- Goes up with each removal of events or payloads.
ALTER TABLE head ADD COLUMN removal_epoch bigint NOT NULL DEFAULT 0;
-- How many kinds have no event any more. Their numbers are not given again.
ALTER TABLE head ADD COLUMN kinds_removed int NOT NULL DEFAULT 0;
-- When the last of the events that were removed was recorded. An event that was sent before may be one of them.
ALTER TABLE head ADD COLUMN removed_recorded_at bigint NOT NULL DEFAULT 0;

-- The transitions of events that were removed, which are subtracted from `transition`. In the same form, with the first
-- position that was kept then as `up_to`.
CREATE TABLE removed_transition (
    tenant_no int    NOT NULL,
    level     int    NOT NULL,
    bucket    bigint NOT NULL,
    up_to     bigint NOT NULL,
    counts    bytea  NOT NULL,
    PRIMARY KEY (tenant_no, level, bucket, up_to)
);

ALTER TABLE removed_transition ENABLE ROW LEVEL SECURITY;
ALTER TABLE removed_transition FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON removed_transition USING
    (tenant_no = NULLIF(current_setting('whence.tenant_no', true), '')::int);

GRANT SELECT ON removed_transition TO whence_app;

-- The rights of a removal. Its transactions take this role instead of whence_app, which can neither change nor delete an
-- event. Row-level security applies to it too.
GRANT SELECT ON tenant, definition, head, kind, actor, flow, resource, event, bucket, rollup_kind, rollup_actor, transition,
                removed_transition, actor_total, tile, follower, delivery, attempt TO whence_keeper;
GRANT DELETE ON kind, actor, flow, resource, event, bucket, rollup_kind, rollup_actor, transition, removed_transition,
                actor_total, delivery, attempt TO whence_keeper;
GRANT UPDATE (payload, salt, payload_hash, erased_at) ON event TO whence_keeper;
GRANT UPDATE (actor_id, erased_at) ON actor TO whence_keeper;
GRANT UPDATE (answer) ON attempt TO whence_keeper;
GRANT UPDATE ON head, flow, resource, bucket, rollup_kind, rollup_actor, tile TO whence_keeper;
GRANT INSERT ON transition, removed_transition, actor_total, tile TO whence_keeper;

-- From here on, `tile` has tiles of level 0 too: the leaves of the positions before `retained_from`.
