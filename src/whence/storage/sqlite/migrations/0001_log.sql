-- The log of many tenants. Interned names (kind, actor, flow, resource) are numbered from 1 within each tenant. The
-- key of an interned name or of an event is tenant_no << 40 | number. Times are microseconds since 1970, UTC.

-- One row: the identity of the store, and the number of its last commit. See highwater.py.
CREATE TABLE store (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    store_id BLOB    NOT NULL,
    commits  INTEGER NOT NULL,
    nonce    BLOB    NOT NULL
) STRICT;

CREATE TABLE tenant (
    tenant_no     INTEGER PRIMARY KEY,
    tenant        TEXT    NOT NULL UNIQUE,
    size          INTEGER NOT NULL DEFAULT 0,     -- positions 1..size are taken
    recorded_at   INTEGER NOT NULL DEFAULT 0,     -- of the last position; never falls
    compact_range BLOB    NOT NULL DEFAULT x'',   -- of the RFC 6962 tree over the leaves, 32 bytes a perfect subtree
    kinds         INTEGER NOT NULL DEFAULT 0,     -- the highest number given, here and below
    actors        INTEGER NOT NULL DEFAULT 0,
    flows         INTEGER NOT NULL DEFAULT 0,
    resources     INTEGER NOT NULL DEFAULT 0,
    linked        INTEGER NOT NULL DEFAULT 0      -- positions 1..linked are folded into `link` and `tally`
) STRICT;

CREATE TABLE kind (
    tenant_no     INTEGER NOT NULL,
    kind          INTEGER NOT NULL,
    event_type    TEXT    NOT NULL,
    resource_type TEXT    NOT NULL,
    actor_type    TEXT    NOT NULL,
    outcome       TEXT    NOT NULL,
    PRIMARY KEY (tenant_no, kind),
    UNIQUE (tenant_no, event_type, resource_type, actor_type, outcome)
) STRICT, WITHOUT ROWID;

CREATE TABLE actor (
    key           INTEGER PRIMARY KEY,
    tenant_no     INTEGER NOT NULL,
    actor_id      TEXT    NOT NULL,
    actor_type    TEXT    NOT NULL,
    UNIQUE (tenant_no, actor_id, actor_type)
) STRICT;

CREATE TABLE flow (
    key            INTEGER PRIMARY KEY,
    tenant_no      INTEGER NOT NULL,
    correlation_id TEXT    NOT NULL,
    events         INTEGER NOT NULL,
    failures       INTEGER NOT NULL,
    first_at       INTEGER NOT NULL,              -- the smallest and largest occurred_at
    last_at        INTEGER NOT NULL,
    UNIQUE (tenant_no, correlation_id)
) STRICT;

-- By last activity: all flows, and those with a failure.
CREATE INDEX flow_last ON flow (tenant_no, last_at);
CREATE INDEX flow_failed ON flow (tenant_no, last_at) WHERE failures > 0;

CREATE TABLE resource (
    key           INTEGER PRIMARY KEY,
    tenant_no     INTEGER NOT NULL,
    resource_id   BLOB    NOT NULL,               -- the 16 bytes of the UUID
    resource_type TEXT    NOT NULL,
    events        INTEGER NOT NULL
) STRICT;

-- Not unique and without the type, which would make it a third larger; an id has one type, or a few. The writer is
-- alone in adding rows, and looks up id and type before it does.
CREATE INDEX resource_id ON resource (tenant_no, resource_id);

-- A rowid table, since WITHOUT ROWID wastes space on payloads over 2 kB. The payload comes last, so that reading other
-- columns touches no overflow page.
CREATE TABLE event (
    key           INTEGER PRIMARY KEY,            -- tenant_no << 40 | position
    tenant_no     INTEGER NOT NULL,
    id            BLOB    NOT NULL,
    occurred_at   INTEGER NOT NULL,
    recorded_at   INTEGER NOT NULL,
    kind          INTEGER NOT NULL,
    actor         INTEGER NOT NULL,
    flow          INTEGER NOT NULL,
    resource      INTEGER NOT NULL,
    cause         ANY,                            -- 16 bytes when causationId is a UUID, else its text
    leaf          BLOB    NOT NULL,               -- RFC 6962 leaf hash of the envelope
    salt          BLOB,                           -- 16 bytes; null once the payload is erased
    payload_hash  BLOB,                           -- SHA-256(salt || payload), kept only once the payload is erased
    payload       BLOB                            -- the exact JSON text; null once erased
) STRICT;

CREATE UNIQUE INDEX event_id ON event (tenant_no, id);
-- `key` precedes the covered columns, so that the index yields the total order without a sort.
CREATE INDEX event_time ON event (tenant_no, occurred_at, key, kind, actor);
-- The others end in occurred_at, and SQLite appends the key to each entry: the total order again.
CREATE INDEX event_kind ON event (tenant_no, kind, occurred_at);
CREATE INDEX event_actor ON event (tenant_no, actor, occurred_at);
CREATE INDEX event_flow ON event (tenant_no, flow, occurred_at);
CREATE INDEX event_resource ON event (tenant_no, resource, occurred_at);
CREATE INDEX event_cause ON event (tenant_no, cause, occurred_at) WHERE cause IS NOT NULL;

-- Exact counts by time; levels and buckets as in rollups.py.
CREATE TABLE bucket (
    tenant_no INTEGER NOT NULL,
    level     INTEGER NOT NULL,
    bucket    INTEGER NOT NULL,
    events    INTEGER NOT NULL,
    divided   INTEGER NOT NULL DEFAULT 0,         -- 1 once its children have rows
    PRIMARY KEY (tenant_no, level, bucket)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollup_kind (
    tenant_no INTEGER NOT NULL,
    level     INTEGER NOT NULL,
    bucket    INTEGER NOT NULL,
    kind      INTEGER NOT NULL,
    events    INTEGER NOT NULL,
    PRIMARY KEY (tenant_no, level, bucket, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollup_actor (
    tenant_no INTEGER NOT NULL,
    level     INTEGER NOT NULL,
    bucket    INTEGER NOT NULL,
    actor     INTEGER NOT NULL,
    kind      INTEGER NOT NULL,
    events    INTEGER NOT NULL,
    PRIMARY KEY (tenant_no, level, bucket, actor, kind)
) STRICT, WITHOUT ROWID;

-- Which event types led to which, by the time of the effect. Levels and buckets are those of rollups.py, `counts` is
-- packed by transitions.py. A bucket has one or more rows, each with what was folded up to a position; its counts are
-- their sum.
CREATE TABLE link (
    tenant_no INTEGER NOT NULL,
    level     INTEGER NOT NULL,
    bucket    INTEGER NOT NULL,
    up_to     INTEGER NOT NULL,                   -- the last position of the newest fold in it
    counts    BLOB    NOT NULL,
    PRIMARY KEY (tenant_no, level, bucket, up_to)
) STRICT;

-- The totals of each actor by time, for divided buckets. `counts` is packed by actor_totals.py. Folded like link.
CREATE TABLE tally (
    tenant_no INTEGER NOT NULL,
    level     INTEGER NOT NULL,
    bucket    INTEGER NOT NULL,
    up_to     INTEGER NOT NULL,
    counts    BLOB    NOT NULL,
    PRIMARY KEY (tenant_no, level, bucket, up_to)
) STRICT;

CREATE TABLE api_key (
    id           TEXT    PRIMARY KEY,
    hash         BLOB    NOT NULL UNIQUE,         -- SHA-256 of the secret, which is never kept
    tenant       TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    scopes       TEXT    NOT NULL,                -- separated by spaces
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER
) STRICT;

CREATE INDEX api_key_tenant ON api_key (tenant, created_at, id);

CREATE TABLE session (
    hash       BLOB    PRIMARY KEY,
    key_id     TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX session_expires ON session (expires_at);
CREATE INDEX session_key ON session (key_id);

-- For people at an SQL prompt.
CREATE VIEW event_log AS
SELECT t.tenant,
       e.key & 0xFFFFFFFFFF                                                            AS position,
       lower(substr(hex(e.id), 1, 8) || '-' || substr(hex(e.id), 9, 4) || '-' || substr(hex(e.id), 13, 4) || '-' ||
             substr(hex(e.id), 17, 4) || '-' || substr(hex(e.id), 21))                 AS id,
       k.event_type, k.actor_type, a.actor_id, k.resource_type,
       lower(substr(hex(r.resource_id), 1, 8) || '-' || substr(hex(r.resource_id), 9, 4) || '-' ||
             substr(hex(r.resource_id), 13, 4) || '-' || substr(hex(r.resource_id), 17, 4) || '-' ||
             substr(hex(r.resource_id), 21))                                           AS resource_id,
       f.correlation_id,
       CASE typeof(e.cause) WHEN 'blob' THEN
             lower(substr(hex(e.cause), 1, 8) || '-' || substr(hex(e.cause), 9, 4) || '-' ||
                   substr(hex(e.cause), 13, 4) || '-' || substr(hex(e.cause), 17, 4) || '-' ||
                   substr(hex(e.cause), 21))
       ELSE e.cause END                                                                AS causation_id,
       k.outcome,
       strftime('%Y-%m-%dT%H:%M:%f', e.occurred_at / 1e6, 'unixepoch') || 'Z'          AS occurred_at,
       strftime('%Y-%m-%dT%H:%M:%f', e.recorded_at / 1e6, 'unixepoch') || 'Z'          AS recorded_at,
       CAST(e.payload AS TEXT)                                                         AS payload
  FROM event e
  JOIN tenant t ON t.tenant_no = e.tenant_no
  JOIN kind k ON k.tenant_no = e.tenant_no AND k.kind = e.kind
  JOIN actor a ON a.key = e.tenant_no << 40 | e.actor
  JOIN flow f ON f.key = e.tenant_no << 40 | e.flow
  JOIN resource r ON r.key = e.tenant_no << 40 | e.resource;
