-- What the followers of a log keep: what they were asked for, how far they have read, and what is to be delivered.
--
-- PostgreSQL also has the table `lease`. A file has one server, which has one process for this work.

-- What somebody asked for, such as a webhook. Like the keys, by the tenant's name: they are listed for the whole store.
CREATE TABLE definition (
    kind    TEXT    NOT NULL,
    tenant  TEXT    NOT NULL,
    id      TEXT    NOT NULL,
    version INTEGER NOT NULL,                     -- counts its changes, from 1
    body    BLOB    NOT NULL,                     -- JSON
    PRIMARY KEY (kind, tenant, id)
) STRICT;

-- How far a follower has read: every event up to `position` is handled.
CREATE TABLE follower (
    tenant_no INTEGER NOT NULL,
    name      TEXT    NOT NULL,
    position  INTEGER NOT NULL,
    state     BLOB    NOT NULL,                   -- what it remembers of them, in a form of its own
    PRIMARY KEY (tenant_no, name)
) STRICT;

-- The event at a position, on its way to a webhook.
CREATE TABLE delivery (
    tenant_no       INTEGER NOT NULL,
    webhook_id      TEXT    NOT NULL,
    position        INTEGER NOT NULL,
    state           INTEGER NOT NULL,             -- 0 pending, 1 delivered, 2 failed
    due_at          INTEGER NOT NULL,             -- when a pending one is to be tried
    changed_at      INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,             -- since it was last asked for
    attempts_in_all INTEGER NOT NULL,
    PRIMARY KEY (tenant_no, webhook_id, position)
) STRICT, WITHOUT ROWID;

-- Each lists some of a webhook's deliveries in the order in which they are read, without a sort.
CREATE INDEX delivery_state ON delivery (tenant_no, webhook_id, state, position);
CREATE INDEX delivery_due ON delivery (tenant_no, webhook_id, due_at, position) WHERE state = 0;
CREATE INDEX delivery_changed ON delivery (tenant_no, webhook_id, changed_at, position) WHERE state <> 0;

CREATE TABLE attempt (
    tenant_no   INTEGER NOT NULL,
    webhook_id  TEXT    NOT NULL,
    position    INTEGER NOT NULL,
    number      INTEGER NOT NULL,                 -- from 1 for each delivery
    started_at  INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    status      INTEGER,                          -- of the answer; null when there was none
    error       TEXT    NOT NULL,                 -- why there was none
    answer      BLOB    NOT NULL,                 -- the beginning of its body
    PRIMARY KEY (tenant_no, webhook_id, position, number)
) STRICT;
