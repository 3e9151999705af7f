-- The log of many tenants. Interned names (kind, actor, flow, resource) are numbered from 1 within each tenant. Times
-- are microseconds since 1970, UTC. Texts sort by code point, which is what COLLATE "C" does in UTF-8.
--
-- The tables are those of SQLite, except for their keys. SQLite orders a table by one integer, which joins tenant and
-- number. Here the key is the pair, so that tables can be distributed by tenant.

-- The numbers of tenants. A statement draws them and not a column default, because Citus would evaluate a volatile
-- default on each node that has a copy of the table.
CREATE SEQUENCE tenant_number AS int;

-- All tenants. Not under row-level security, since a transaction looks its tenant's number up here.
CREATE TABLE tenant (
    tenant_no int  PRIMARY KEY,
    tenant    text COLLATE "C" NOT NULL UNIQUE
);

-- The state of each tenant's log. An append locks its tenant's row before any other row, until it commits. So positions
-- have no gaps and follow the order of commits, and appends cannot deadlock.
CREATE TABLE head (
    tenant_no     int    PRIMARY KEY,
    size          bigint NOT NULL DEFAULT 0,      -- positions 1..size are taken
    recorded_at   bigint NOT NULL DEFAULT 0,      -- of the last position; never falls
    compact_range bytea  NOT NULL DEFAULT '',     -- of the RFC 6962 tree over the leaves, 32 bytes a perfect subtree
    kinds         int    NOT NULL DEFAULT 0,      -- the highest number in use, also in the next three
    actors        bigint NOT NULL DEFAULT 0,
    flows         bigint NOT NULL DEFAULT 0,
    resources     bigint NOT NULL DEFAULT 0,
    linked        bigint NOT NULL DEFAULT 0,      -- positions 1..linked are folded into link and tally
    kinds_mark    bigint NOT NULL DEFAULT 0,      -- changes with every new kind; caches compare it
    tenant        text COLLATE "C" NOT NULL       -- again, since a cached number is checked with it
) WITH (fillfactor = 50);                         -- every append updates the row, so its page needs room

CREATE TABLE kind (
    tenant_no     int  NOT NULL,
    kind          int  NOT NULL,
    event_type    text COLLATE "C" NOT NULL,
    resource_type text COLLATE "C" NOT NULL,
    actor_type    text COLLATE "C" NOT NULL,
    outcome       text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_no, kind),
    UNIQUE (tenant_no, event_type, resource_type, actor_type, outcome)
);

CREATE TABLE actor (
    tenant_no  int    NOT NULL,
    actor      bigint NOT NULL,
    actor_id   text COLLATE "C" NOT NULL,
    actor_type text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_no, actor),
    UNIQUE (tenant_no, actor_id, actor_type)
);

CREATE TABLE flow (
    tenant_no      int    NOT NULL,
    flow           bigint NOT NULL,
    events         bigint NOT NULL,
    failures       bigint NOT NULL,
    first_at       bigint NOT NULL,               -- the smallest and largest occurred_at
    last_at        bigint NOT NULL,
    correlation_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_no, flow),
    UNIQUE (tenant_no, correlation_id)
);

-- By last activity: all flows, and those with a failure.
CREATE INDEX flow_last ON flow (tenant_no, last_at, flow);
CREATE INDEX flow_failed ON flow (tenant_no, last_at, flow) WHERE failures > 0;

CREATE TABLE resource (
    tenant_no     int    NOT NULL,
    resource      bigint NOT NULL,
    events        bigint NOT NULL,
    resource_id   uuid   NOT NULL,
    resource_type text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_no, resource),
    UNIQUE (tenant_no, resource_id, resource_type)
);

-- Columns are ordered by width, so that rows have no padding.
CREATE TABLE event (
    position     bigint NOT NULL,
    occurred_at  bigint NOT NULL,
    recorded_at  bigint NOT NULL,
    actor        bigint NOT NULL,
    flow         bigint NOT NULL,
    resource     bigint NOT NULL,
    tenant_no    int    NOT NULL,
    kind         int    NOT NULL,
    id           uuid   NOT NULL,
    cause_id     uuid,                            -- causation_id if it is a canonical UUID, else null
    leaf         bytea  NOT NULL,                 -- RFC 6962 leaf hash of the envelope
    salt         bytea,                           -- 16 bytes; null once the payload is erased
    payload_hash bytea,                           -- SHA-256(salt || payload), kept only once the payload is erased
    causation_id text COLLATE "C",                -- as it was sent
    payload      bytea,                           -- the exact JSON text (never jsonb, which rewrites); null once erased
    PRIMARY KEY (tenant_no, position)
);

CREATE UNIQUE INDEX event_id ON event (tenant_no, id);
-- Each index yields the total order without a sort.
CREATE INDEX event_time ON event (tenant_no, occurred_at, position) INCLUDE (kind, actor);
CREATE INDEX event_kind ON event (tenant_no, kind, occurred_at, position);
CREATE INDEX event_actor ON event (tenant_no, actor, occurred_at, position);
CREATE INDEX event_flow ON event (tenant_no, flow, occurred_at, position);
CREATE INDEX event_resource ON event (tenant_no, resource, occurred_at, position);
CREATE INDEX event_cause ON event (tenant_no, cause_id, occurred_at, position) WHERE cause_id IS NOT NULL;
-- For causes that are not UUIDs, which are rare. The index above is for UUIDs and half as large.
CREATE INDEX event_cause_text ON event (tenant_no, causation_id, occurred_at, position)
 WHERE cause_id IS NULL AND causation_id IS NOT NULL;

-- Exact counts by time; levels and buckets as in rollups.py.
CREATE TABLE bucket (
    tenant_no int     NOT NULL,
    level     int     NOT NULL,
    bucket    bigint  NOT NULL,
    events    bigint  NOT NULL,
    divided   boolean NOT NULL DEFAULT false,     -- true once its children have rows
    PRIMARY KEY (tenant_no, level, bucket)
) WITH (fillfactor = 80);

CREATE TABLE rollup_kind (
    tenant_no int    NOT NULL,
    level     int    NOT NULL,
    bucket    bigint NOT NULL,
    events    bigint NOT NULL,
    kind      int    NOT NULL,
    PRIMARY KEY (tenant_no, level, bucket, kind)
) WITH (fillfactor = 80);

CREATE TABLE rollup_actor (
    tenant_no int    NOT NULL,
    level     int    NOT NULL,
    bucket    bigint NOT NULL,
    actor     bigint NOT NULL,
    events    bigint NOT NULL,
    kind      int    NOT NULL,
    PRIMARY KEY (tenant_no, level, bucket, actor, kind)
) WITH (fillfactor = 80);

-- Which event types led to which, by the time of the effect. Levels and buckets are those of rollups.py, `counts` is
-- packed by transitions.py. A bucket has one or more rows, each with what was folded up to a position; its counts are
-- their sum.
CREATE TABLE link (
    tenant_no int    NOT NULL,
    level     int    NOT NULL,
    bucket    bigint NOT NULL,
    up_to     bigint NOT NULL,                    -- the last position that was folded into it
    counts    bytea  NOT NULL,
    PRIMARY KEY (tenant_no, level, bucket, up_to)
);

-- The totals of each actor by time, for divided buckets. `counts` is packed by actor_totals.py. Folded like link.
CREATE TABLE tally (
    tenant_no int    NOT NULL,
    level     int    NOT NULL,
    bucket    bigint NOT NULL,
    up_to     bigint NOT NULL,
    counts    bytea  NOT NULL,
    PRIMARY KEY (tenant_no, level, bucket, up_to)
);

-- Not under row-level security: keys and sessions are looked up to learn the tenant.
CREATE TABLE api_key (
    id           text   COLLATE "C" PRIMARY KEY,
    hash         bytea  NOT NULL UNIQUE,          -- SHA-256 of the secret, which is not stored
    tenant       text   COLLATE "C" NOT NULL,
    name         text   NOT NULL,
    scopes       text   NOT NULL,                 -- separated by spaces
    created_at   bigint NOT NULL,
    expires_at   bigint,
    revoked_at   bigint,
    last_used_at bigint
);

CREATE INDEX api_key_tenant ON api_key (tenant, created_at, id);

CREATE TABLE session (
    hash       bytea  PRIMARY KEY,
    key_id     text   COLLATE "C" NOT NULL,
    expires_at bigint NOT NULL
);

CREATE INDEX session_expires ON session (expires_at);
CREATE INDEX session_key ON session (key_id);

-- For people at an SQL prompt. It runs with the rights of its caller and not of its owner.
CREATE VIEW event_log WITH (security_invoker = true) AS
SELECT t.tenant, e.position, e.id, k.event_type, k.actor_type, a.actor_id, k.resource_type, r.resource_id,
       f.correlation_id, e.causation_id, k.outcome,
       timestamptz 'epoch' + e.occurred_at * interval '1 microsecond' AS occurred_at,
       timestamptz 'epoch' + e.recorded_at * interval '1 microsecond' AS recorded_at,
       convert_from(e.payload, 'UTF8')                                AS payload
  FROM event e
  JOIN tenant t ON t.tenant_no = e.tenant_no
  JOIN kind k ON k.tenant_no = e.tenant_no AND k.kind = e.kind
  JOIN actor a ON a.tenant_no = e.tenant_no AND a.actor = e.actor
  JOIN flow f ON f.tenant_no = e.tenant_no AND f.flow = e.flow
  JOIN resource r ON r.tenant_no = e.tenant_no AND r.resource = e.resource;

-- Row-level security. A transaction takes the role whence_app and sets its tenant's number; it sees no rows of other
-- tenants, and none at all without a number. FORCE makes it apply to the tables' owner too. The policy has no subquery:
-- each statement would run it again, and Citus allows none in a policy.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['head', 'kind', 'actor', 'flow', 'resource', 'event', 'bucket', 'rollup_kind',
                                'rollup_actor', 'link', 'tally'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY one_tenant ON %I USING '
                       '(tenant_no = NULLIF(current_setting(''whence.tenant_no'', true), '''')::int)', name);
    END LOOP;
END
$$;

GRANT USAGE ON SEQUENCE tenant_number TO whence_app;
GRANT SELECT, INSERT ON tenant, kind, actor, event TO whence_app;
GRANT SELECT, INSERT, UPDATE ON head, flow, resource, bucket, rollup_kind, rollup_actor, api_key TO whence_app;
GRANT SELECT, INSERT, DELETE ON link, tally TO whence_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON session TO whence_app;
GRANT SELECT ON event_log TO whence_app;
