-- What the followers of a log keep: which process does their work, what they were asked for, how far they have read, and
-- what is to be delivered.

-- Which process does the work of one kind, by the clock of the database. Not under row-level security, like the next
-- table: both are read for the whole store.
CREATE TABLE lease (
    name       text   COLLATE "C" PRIMARY KEY,
    owner      text   NOT NULL,
    taken_at   bigint NOT NULL,
    expires_at bigint NOT NULL
);

-- What somebody asked for, such as a webhook.
CREATE TABLE definition (
    kind    text  COLLATE "C" NOT NULL,
    tenant  text  COLLATE "C" NOT NULL,
    id      text  COLLATE "C" NOT NULL,
    version int   NOT NULL,                       -- counts its changes, from 1
    body    bytea NOT NULL,                       -- JSON
    PRIMARY KEY (kind, tenant, id)
);

-- How far a follower has read: every event up to `position` is handled.
CREATE TABLE follower (
    position  bigint NOT NULL,
    tenant_no int    NOT NULL,
    name      text   COLLATE "C" NOT NULL,
    state     bytea  NOT NULL,                    -- what it remembers of them, in a form of its own
    PRIMARY KEY (tenant_no, name)
);

-- The event at a position, on its way to a webhook.
CREATE TABLE delivery (
    position        bigint   NOT NULL,
    due_at          bigint   NOT NULL,            -- when a pending one is to be tried
    changed_at      bigint   NOT NULL,
    tenant_no       int      NOT NULL,
    attempts        int      NOT NULL,            -- since it was last asked for
    attempts_in_all int      NOT NULL,
    state           smallint NOT NULL,            -- 0 pending, 1 delivered, 2 failed
    webhook_id      text     COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_no, webhook_id, position)
);

-- Each lists some of a webhook's deliveries in the order in which they are read, without a sort.
CREATE INDEX delivery_state ON delivery (tenant_no, webhook_id, state, position);
CREATE INDEX delivery_due ON delivery (tenant_no, webhook_id, due_at, position) WHERE state = 0;
CREATE INDEX delivery_changed ON delivery (tenant_no, webhook_id, changed_at, position) WHERE state <> 0;

CREATE TABLE attempt (
    position    bigint NOT NULL,
    started_at  bigint NOT NULL,
    tenant_no   int    NOT NULL,
    number      int    NOT NULL,                  -- from 1 for each delivery
    duration_ms int    NOT NULL,
    status      int,                              -- of the answer; null when there was none
    webhook_id  text   COLLATE "C" NOT NULL,
    error       text   NOT NULL,                  -- why there was none
    answer      bytea  NOT NULL,                  -- the beginning of its body
    PRIMARY KEY (tenant_no, webhook_id, position, number)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['follower', 'delivery', 'attempt'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY one_tenant ON %I USING '
                       '(tenant_no = NULLIF(current_setting(''whence.tenant_no'', true), '''')::int)', name);
    END LOOP;
END
$$;

GRANT SELECT, INSERT, UPDATE, DELETE ON lease, definition, follower, delivery TO whence_app;
GRANT SELECT, INSERT, DELETE ON attempt TO whence_app;
