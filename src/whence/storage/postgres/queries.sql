-- Named blocks. They have the names of their counterparts in sqlite/queries.sql; a comment marks those that SQLite
-- lacks. A block ends where the next one begins. Values are bound as parameters and never formatted into the text.
-- Where the caller appends to a block, a comment says so.
--
-- A statement costs a round trip, so it takes arrays where SQLite runs one statement per row.

-- name: tenant_no
-- Row-level security needs the number when a transaction begins.
SELECT tenant_no FROM tenant WHERE tenant = $1

-- name: next_tenant_no
SELECT nextval('tenant_number')

-- name: add_tenant
INSERT INTO tenant (tenant_no, tenant) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- name: head
-- By number and name, here and below: after a failover to a standby that lacks the last commits, a cached number may
-- belong to another tenant. The last column is the number of all events, from the one bucket of level 0: most pages
-- need it for their total.
SELECT tenant_no, size, recorded_at, compact_range, kinds, actors, flows, resources, folded_to,
       payload_bytes, measured_to, kinds_removed, removed_recorded_at, removal_epoch, retained_from, kinds_version,
       coalesce((SELECT events FROM bucket WHERE tenant_no = $1 AND level = 0 AND bucket = 0), 0)
  FROM head
 WHERE tenant_no = $1 AND tenant = $2

-- name: lock_head
-- Not on SQLite, where a writing transaction locks the whole file. After waiting for the row lock, it returns the row
-- as the previous writer committed it.
SELECT tenant_no, size, recorded_at, compact_range, kinds, actors, flows, resources, folded_to,
       payload_bytes, measured_to, kinds_removed, removed_recorded_at, removal_epoch, retained_from, kinds_version
  FROM head
 WHERE tenant_no = $1 AND tenant = $2
   FOR UPDATE

-- name: add_head
-- Not on SQLite, where head and tenant are one row. When another transaction is inserting the row, it waits for that.
INSERT INTO head (tenant_no, tenant) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- name: save_head
UPDATE head SET size = $2, recorded_at = $3, compact_range = $4, kinds = $5, actors = $6, flows = $7, resources = $8,
       folded_to = $9, payload_bytes = $10, measured_to = $11, kinds_version = $12
 WHERE tenant_no = $1

-- name: retain_from
UPDATE head SET retained_from = greatest(retained_from, $2), recorded_at = greatest(recorded_at, $3),
       removed_recorded_at = greatest(removed_recorded_at, $4)
 WHERE tenant_no = $1

-- name: payload_bytes
-- Of the events after a position and up to another. The length of a payload is found without reading it.
SELECT coalesce(sum(octet_length(payload)), 0)::bigint FROM event WHERE tenant_no = $1 AND position > $2 AND position <= $3

-- name: kinds
SELECT kind, event_type, resource_type, actor_type, outcome FROM kind WHERE tenant_no = $1

-- name: add_kind
-- RETURNING, here and below, is for Citus: without it the rows travel to their node by COPY, which row-level security
-- forbids. Its cost is negligible.
INSERT INTO kind (tenant_no, kind, event_type, resource_type, actor_type, outcome)
SELECT $1, * FROM unnest($2::int[], $3::text[], $4::text[], $5::text[], $6::text[])
RETURNING tenant_no

-- name: actor_number
-- Null for a new actor. A subquery and not a join, for the reason given at stored_ids.
SELECT (SELECT a.actor FROM actor a
         WHERE a.tenant_no = $1 AND a.actor_id = asked.actor_id AND a.actor_type = asked.actor_type),
       asked.actor_id, asked.actor_type
  FROM unnest($2::text[], $3::text[]) AS asked (actor_id, actor_type)

-- name: add_actor
INSERT INTO actor (tenant_no, actor, actor_id, actor_type, erased_at)
SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[])
RETURNING tenant_no

-- name: add_to_flow
-- A new flow takes the number passed. A known one keeps its own, and the counts are added.
INSERT INTO flow (tenant_no, flow, correlation_id, events, failures, first_at, last_at)
SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
ON CONFLICT (tenant_no, correlation_id) DO UPDATE
   SET events = flow.events + excluded.events, failures = flow.failures + excluded.failures,
       first_at = least(flow.first_at, excluded.first_at), last_at = greatest(flow.last_at, excluded.last_at)
RETURNING flow, correlation_id

-- name: add_to_resource
INSERT INTO resource (tenant_no, resource, resource_id, resource_type, events)
SELECT $1, * FROM unnest($2::bigint[], $3::uuid[], $4::text[], $5::bigint[])
ON CONFLICT (tenant_no, resource_id, resource_type) DO UPDATE SET events = resource.events + excluded.events
RETURNING resource, resource_id, resource_type

-- name: stored_ids
-- Which of these ids are stored, at which position and in which flow. SQLite uses keys_of_ids and correlation_of. A
-- subquery and not a join, whose plan scans all flows of a log that has no statistics yet. Also which of the flows in $3
-- are stored; these rows have no id. One statement saves a round trip.
SELECT e.id, e.position, (SELECT f.correlation_id FROM flow f WHERE f.tenant_no = $1 AND f.flow = e.flow)
  FROM event e
 WHERE e.tenant_no = $1 AND e.id = ANY($2::uuid[])
 UNION ALL
SELECT NULL, NULL, correlation_id FROM flow WHERE tenant_no = $1 AND correlation_id = ANY($3::text[])

-- name: add_event
-- The columns are those of EVENT_COLUMNS in rows.py. payload_hash is null until the payload is erased.
INSERT INTO event (tenant_no, position, id, occurred_at, recorded_at, kind, actor, flow, resource, causation_id, cause_id,
                   leaf, salt, payload_hash, payload, envelope_version, erased_at)
SELECT $1, * FROM unnest($2::bigint[], $3::uuid[], $4::bigint[], $5::bigint[], $6::int[], $7::bigint[], $8::bigint[],
                         $9::bigint[], $10::text[], $11::uuid[], $12::bytea[], $13::bytea[], $14::bytea[], $15::bytea[],
                         $16::smallint[], $17::bigint[])
RETURNING tenant_no

-- name: append_events
-- Not on SQLite. With the name of the schema, since it is sent without BEGIN and the settings that come with it.
-- Arrays of numbers come as text; see append_function.py.
SELECT size_before, recorded, flows_taken FROM whence.append_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
       $13, $14::text::bigint[], $15::text::int[], $16::text::int[], $17::text::int[], $18, $19, $20, $21, $22, $23,
       $24, $25, $26, $27, $28, $29, $30::text::int[], $31::text::bigint[], $32::text::int[], $33::text::bigint[],
       $34::text::int[])

-- name: buckets_known
-- How many events these buckets hold, and which are divided. Not on SQLite, where add_to_bucket returns it. OFFSET 0,
-- here and below, keeps the planner from making it a join, for the reason given at stored_ids.
SELECT asked.level, asked.bucket, b.events, b.divided
  FROM unnest($2::int[], $3::bigint[]) AS asked (level, bucket)
 CROSS JOIN LATERAL (
    SELECT events, divided FROM bucket WHERE tenant_no = $1 AND level = asked.level AND bucket = asked.bucket OFFSET 0
 ) b

-- name: add_to_bucket
INSERT INTO bucket (tenant_no, level, bucket, events)
SELECT $1, * FROM unnest($2::int[], $3::bigint[], $4::bigint[])
ON CONFLICT (tenant_no, level, bucket) DO UPDATE SET events = bucket.events + excluded.events

-- name: add_to_rollup_kind
INSERT INTO rollup_kind (tenant_no, level, bucket, kind, events)
SELECT $1, * FROM unnest($2::int[], $3::bigint[], $4::int[], $5::bigint[])
ON CONFLICT (tenant_no, level, bucket, kind) DO UPDATE SET events = rollup_kind.events + excluded.events

-- name: add_to_rollup_actor
INSERT INTO rollup_actor (tenant_no, level, bucket, actor, kind, events)
SELECT $1, * FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::int[], $6::bigint[])
ON CONFLICT (tenant_no, level, bucket, actor, kind) DO UPDATE SET events = rollup_actor.events + excluded.events

-- name: first_time
SELECT min(occurred_at) FROM event WHERE tenant_no = $1

-- name: divide_bucket
-- Counts the children from the raw events. Parameters: tenant, level, first child, its start, its width, and the
-- bounds of the parent. The offset from the start of the first child is never negative, so that SQL's division, which
-- truncates, is a floor division. The tenant's number is selected from the column and not from $1, so that Citus can
-- tell that no row leaves its node. Citus then runs the statement on the shards, and RETURNING finds the table by its alias
-- only.
INSERT INTO bucket AS child (tenant_no, level, bucket, events)
SELECT tenant_no, $2::int, $3::bigint + (occurred_at - $4::bigint) / $5::bigint, count(*)
  FROM event
 WHERE tenant_no = $1 AND occurred_at >= $6 AND occurred_at < $7
 GROUP BY tenant_no, 3
RETURNING child.bucket, child.events

-- name: divide_rollup_kind
INSERT INTO rollup_kind (tenant_no, level, bucket, kind, events)
SELECT tenant_no, $2::int, $3::bigint + (occurred_at - $4::bigint) / $5::bigint, kind, count(*)
  FROM event
 WHERE tenant_no = $1 AND occurred_at >= $6 AND occurred_at < $7
 GROUP BY tenant_no, 3, 4

-- name: divide_rollup_actor
INSERT INTO rollup_actor (tenant_no, level, bucket, actor, kind, events)
SELECT tenant_no, $2::int, $3::bigint + (occurred_at - $4::bigint) / $5::bigint, actor, kind, count(*)
  FROM event
 WHERE tenant_no = $1 AND occurred_at >= $6 AND occurred_at < $7
 GROUP BY tenant_no, 3, 4, 5

-- name: mark_divided
UPDATE bucket SET divided = true WHERE tenant_no = $1 AND level = $2 AND bucket = $3

-- name: is_divided
SELECT asked.level, asked.bucket
  FROM unnest($2::int[], $3::bigint[]) AS asked (level, bucket)
 CROSS JOIN LATERAL (
    SELECT FROM bucket WHERE tenant_no = $1 AND level = asked.level AND bucket = asked.bucket AND divided OFFSET 0
 ) b

-- name: full_event
-- The caller adds the condition.
SELECT e.position, e.id, k.event_type, k.actor_type, a.actor_id, k.resource_type, r.resource_id, f.correlation_id,
       e.causation_id, k.outcome, e.occurred_at, e.recorded_at, e.payload, e.erased_at,
       a.erased_at AS actor_erased_at
  FROM event e
  JOIN kind k ON k.tenant_no = e.tenant_no AND k.kind = e.kind
  JOIN actor a ON a.tenant_no = e.tenant_no AND a.actor = e.actor
  JOIN flow f ON f.tenant_no = e.tenant_no AND f.flow = e.flow
  JOIN resource r ON r.tenant_no = e.tenant_no AND r.resource = e.resource
 WHERE e.tenant_no = $1

-- name: page_event
-- Like full_event, for a few events whose kinds are known. Not on SQLite, where a join costs less. Planning a join of
-- five tables takes longer than reading a page, and each subquery is a lookup by key, whatever the statistics.
SELECT e.position, e.id, e.kind, (SELECT a.actor_id FROM actor a WHERE a.tenant_no = $1 AND a.actor = e.actor),
       (SELECT r.resource_id FROM resource r WHERE r.tenant_no = $1 AND r.resource = e.resource),
       (SELECT f.correlation_id FROM flow f WHERE f.tenant_no = $1 AND f.flow = e.flow),
       e.causation_id, e.occurred_at, e.recorded_at, e.payload, e.erased_at
  FROM event e
 WHERE e.tenant_no = $1

-- name: one_event
-- Like full_event by an id, and checks the head in the same statement, which saves a round trip. Not on SQLite, for the
-- reason given at page_event. $4 are the resource types that the viewer may see, null for all.
SELECT e.position, e.id, k.event_type, k.actor_type,
       (SELECT a.actor_id FROM actor a WHERE a.tenant_no = $1 AND a.actor = e.actor), k.resource_type,
       (SELECT r.resource_id FROM resource r WHERE r.tenant_no = $1 AND r.resource = e.resource),
       (SELECT f.correlation_id FROM flow f WHERE f.tenant_no = $1 AND f.flow = e.flow),
       e.causation_id, k.outcome, e.occurred_at, e.recorded_at, e.payload, e.erased_at
  FROM event e JOIN kind k ON k.tenant_no = e.tenant_no AND k.kind = e.kind
 WHERE e.tenant_no = $1 AND e.id = $2
   AND EXISTS (SELECT 1 FROM head h WHERE h.tenant_no = $1 AND h.tenant = $3)
   AND ($4::text[] IS NULL OR k.resource_type = ANY($4))

-- name: feed_part
-- The caller adds conditions and the order. OFFSET 0 keeps the planner from using the conditions for another index, on
-- which it could read far more than these positions.
SELECT position, payload_bytes
  FROM (SELECT position, coalesce(octet_length(payload), 0) AS payload_bytes, occurred_at, kind, actor, flow, resource,
               cause_id, causation_id
          FROM event
         WHERE tenant_no = $1 AND position > $2 AND position <= $3
         ORDER BY position OFFSET 0) part
 WHERE true

-- name: recorded_at
SELECT recorded_at FROM event WHERE tenant_no = $1 AND position = $2

-- name: ids_in_range
-- Two at most. $4 are the resource types that the viewer may see, null for all.
SELECT e.id
  FROM event e JOIN kind k ON k.tenant_no = e.tenant_no AND k.kind = e.kind
 WHERE e.tenant_no = $1 AND e.id BETWEEN $2 AND $3
   AND ($4::text[] IS NULL OR k.resource_type = ANY($4))
 ORDER BY e.id LIMIT 2

-- name: id_at
SELECT e.id
  FROM event e JOIN kind k ON k.tenant_no = e.tenant_no AND k.kind = e.kind
 WHERE e.tenant_no = $1 AND e.position = $2
   AND ($3::text[] IS NULL OR k.resource_type = ANY($3))

-- name: actors_by_id
SELECT actor, actor_type, actor_id FROM actor WHERE tenant_no = $1 AND actor_id = ANY($2::text[])

-- name: flow_by_correlation
SELECT flow, correlation_id, events FROM flow WHERE tenant_no = $1 AND correlation_id = ANY($2::text[])

-- name: resources_by_id
SELECT resource, resource_type, resource_id::text, events FROM resource WHERE tenant_no = $1 AND resource_id = ANY($2::uuid[])

-- name: actor_names
SELECT actor, actor_type, actor_id FROM actor WHERE tenant_no = $1 AND actor = ANY($2::bigint[])

-- name: events_named
-- By id. $5 are the resource types that the viewer may see, null for all, here and in resources_named.
SELECT e.id
  FROM event e JOIN kind k ON k.tenant_no = e.tenant_no AND k.kind = e.kind
 WHERE e.tenant_no = $1 AND e.id BETWEEN $2 AND $3 AND $4::text IS NULL
   AND ($5::text[] IS NULL OR k.resource_type = ANY($5))
 ORDER BY e.id LIMIT $6

-- name: actors_named
-- With the events of the one bucket of level 0. $5 are the kinds that the viewer may see, null for all; an actor that
-- has no event of them is left out.
SELECT actor_id, actor_type, events
  FROM (SELECT a.actor_id, a.actor_type,
               (SELECT sum(r.events)::bigint FROM rollup_actor r
                 WHERE r.tenant_no = $1 AND r.level = 0 AND r.bucket = 0 AND r.actor = a.actor
                   AND ($5::int[] IS NULL OR r.kind = ANY($5))) AS events
          FROM actor a
         WHERE a.tenant_no = $1 AND a.actor_id BETWEEN $2 AND $3 AND ($4::text IS NULL OR a.actor_type = $4)) named
 WHERE events > 0
 ORDER BY actor_id, actor_type LIMIT $6

-- name: flows_named
-- The row of a flow counts all of its events, so those that a viewer may see are counted one by one.
SELECT correlation_id, events
  FROM (SELECT f.correlation_id,
               CASE WHEN $5::int[] IS NULL THEN f.events ELSE (
                    SELECT count(*) FROM event e
                     WHERE e.tenant_no = $1 AND e.flow = f.flow AND e.kind = ANY($5)) END AS events
          FROM flow f
         WHERE f.tenant_no = $1 AND f.correlation_id BETWEEN $2 AND $3 AND $4::text IS NULL) named
 WHERE events > 0
 ORDER BY correlation_id LIMIT $6

-- name: resources_named
SELECT resource_id, resource_type, events
  FROM resource
 WHERE tenant_no = $1 AND resource_id BETWEEN $2 AND $3 AND ($4::text IS NULL OR resource_type = $4)
   AND ($5::text[] IS NULL OR resource_type = ANY($5))
 ORDER BY resource_id, resource_type LIMIT $6

-- name: span_total
-- Spans are arrays of level, first and last bucket, here and below; the last parameter is the array of their signs.
-- The planner cannot estimate how short they are, and would scan all rows of all tenants; OFFSET 0 makes it go from
-- span to span.
SELECT coalesce(sum(b.events * s.sign), 0)::bigint
  FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::int[]) AS s (level, first, last, sign)
 CROSS JOIN LATERAL (
       SELECT events FROM bucket WHERE tenant_no = $1 AND level = s.level AND bucket BETWEEN s.first AND s.last
       OFFSET 0) b

-- name: span_by_kind
SELECT r.kind, sum(r.events * s.sign)::bigint
  FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::int[]) AS s (level, first, last, sign)
 CROSS JOIN LATERAL (
       SELECT kind, events FROM rollup_kind
        WHERE tenant_no = $1 AND level = s.level AND bucket BETWEEN s.first AND s.last
       OFFSET 0) r
 GROUP BY r.kind

-- name: span_by_kind_of_actors
-- From bucket to bucket, so that an actor takes one seek in each, however many other actors there are.
SELECT r.kind, sum(r.events * s.sign)::bigint
  FROM unnest($2::int[], $3::bigint[], $4::bigint[], $6::int[]) AS s (level, first, last, sign)
  JOIN bucket b ON b.tenant_no = $1 AND b.level = s.level AND b.bucket BETWEEN s.first AND s.last
 CROSS JOIN LATERAL (
       SELECT kind, events FROM rollup_actor
        WHERE tenant_no = $1 AND level = b.level AND bucket = b.bucket AND actor = ANY($5::bigint[])
       OFFSET 0) r
 GROUP BY r.kind

-- name: span_by_actor
SELECT r.actor, sum(r.events * s.sign)::bigint,
       coalesce(sum(r.events * s.sign) FILTER (WHERE r.kind = ANY($5::int[])), 0)::bigint,
       coalesce(sum(r.events * s.sign) FILTER (WHERE r.kind = ANY($6::int[])), 0)::bigint
  FROM unnest($2::int[], $3::bigint[], $4::bigint[], $8::int[]) AS s (level, first, last, sign)
 CROSS JOIN LATERAL (
       SELECT actor, kind, events FROM rollup_actor
        WHERE tenant_no = $1 AND level = s.level AND bucket BETWEEN s.first AND s.last
          AND kind = ANY($7::int[])
       OFFSET 0) r
 GROUP BY r.actor

-- name: span_by_actor_undivided
-- The buckets without packed totals.
SELECT r.actor, r.kind, sum(r.events * s.sign)::bigint
  FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::int[]) AS s (level, first, last, sign)
 CROSS JOIN LATERAL (
       SELECT level, bucket FROM bucket
        WHERE tenant_no = $1 AND level = s.level AND bucket BETWEEN s.first AND s.last AND NOT divided
       OFFSET 0) b
 CROSS JOIN LATERAL (
       SELECT actor, kind, events FROM rollup_actor
        WHERE tenant_no = $1 AND level = b.level AND bucket = b.bucket
       OFFSET 0) r
 GROUP BY r.actor, r.kind

-- name: span_of_actor_totals
-- The buckets with packed totals. A bucket has no row of them before the first fold, and then counts is null.
SELECT b.level, b.bucket, s.sign, t.counts
  FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::int[]) AS s (level, first, last, sign)
 CROSS JOIN LATERAL (
       SELECT level, bucket FROM bucket
        WHERE tenant_no = $1 AND level = s.level AND bucket BETWEEN s.first AND s.last AND divided
       OFFSET 0) b
  LEFT JOIN LATERAL (
       SELECT counts FROM actor_total
        WHERE tenant_no = $1 AND level = b.level AND bucket = b.bucket
       OFFSET 0) t ON true

-- name: span_by_actor_of_actors
SELECT r.actor, r.kind, sum(r.events * s.sign)::bigint
  FROM unnest($2::int[], $3::bigint[], $4::bigint[], $6::int[]) AS s (level, first, last, sign)
  JOIN bucket b ON b.tenant_no = $1 AND b.level = s.level AND b.bucket BETWEEN s.first AND s.last
 CROSS JOIN LATERAL (
       SELECT actor, kind, events FROM rollup_actor
        WHERE tenant_no = $1 AND level = b.level AND bucket = b.bucket AND actor = ANY($5::bigint[])
       OFFSET 0) r
 GROUP BY r.actor, r.kind

-- name: edge
-- Edges are arrays of bounds; the last parameter is the array of their signs. Counted here, since to send a row costs
-- more than on SQLite.
SELECT e.kind, e.actor, sum(edge.sign)
  FROM unnest($2::bigint[], $3::bigint[], $6::int[]) AS edge (since, until, sign)
 CROSS JOIN LATERAL (
       SELECT kind, actor FROM event
        WHERE tenant_no = $1 AND occurred_at >= edge.since AND occurred_at < edge.until
          AND ($4::int[] IS NULL OR kind = ANY($4)) AND ($5::bigint[] IS NULL OR actor = ANY($5))
       OFFSET 0) e
 GROUP BY e.kind, e.actor

-- name: time_bounds
-- When the first and the last event occurred.
SELECT (SELECT min(occurred_at) FROM event WHERE tenant_no = $1), (SELECT max(occurred_at) FROM event WHERE tenant_no = $1)

-- name: time_bounds_of_kinds
-- The same of some kinds, with two seeks for each.
SELECT min(b.first), max(b.last)
  FROM unnest($2::int[]) AS k (kind)
 CROSS JOIN LATERAL (
       SELECT (SELECT min(occurred_at) FROM event WHERE tenant_no = $1 AND kind = k.kind) AS first,
              (SELECT max(occurred_at) FROM event WHERE tenant_no = $1 AND kind = k.kind) AS last
       OFFSET 0) b

-- name: known_buckets
-- Of several levels at once.
SELECT b.level, b.bucket, b.divided
  FROM unnest($2::int[], $3::bigint[], $4::bigint[]) AS s (level, first, last)
 CROSS JOIN LATERAL (
       SELECT level, bucket, divided FROM bucket
        WHERE tenant_no = $1 AND level = s.level AND bucket BETWEEN s.first AND s.last
       OFFSET 0) b
 ORDER BY b.level, b.bucket

-- name: grid_span
-- $5 are the widths of the spans, $6 the start of the grid and $7 the width of its buckets, here and below. Counted by
-- bucket of the grid, since to send a row costs more than on SQLite.
SELECT (r.bucket * s.width - $6::bigint) / $7::bigint, r.kind, sum(r.events)::bigint
  FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::bigint[]) AS s (level, first, last, width)
 CROSS JOIN LATERAL (
       SELECT bucket, kind, events FROM rollup_kind
        WHERE tenant_no = $1 AND level = s.level AND bucket BETWEEN s.first AND s.last
          AND ($8::int[] IS NULL OR kind = ANY($8))
       OFFSET 0) r
 GROUP BY 1, 2

-- name: grid_span_of_actors
-- From bucket to bucket, so that an actor takes one seek in each, however many other actors there are.
SELECT (b.bucket * s.width - $6::bigint) / $7::bigint, r.kind, sum(r.events)::bigint
  FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::bigint[]) AS s (level, first, last, width)
  JOIN bucket b ON b.tenant_no = $1 AND b.level = s.level AND b.bucket BETWEEN s.first AND s.last
 CROSS JOIN LATERAL (
       SELECT kind, events FROM rollup_actor
        WHERE tenant_no = $1 AND level = b.level AND bucket = b.bucket AND actor = ANY($9::bigint[])
          AND ($8::int[] IS NULL OR kind = ANY($8))
       OFFSET 0) r
 GROUP BY 1, 2

-- name: grid_edge
-- No event that matches is before the grid, so that SQL's division, which truncates, is a floor division.
SELECT (e.occurred_at - $4::bigint) / $5::bigint, e.kind, count(*)
  FROM unnest($2::bigint[], $3::bigint[]) AS edge (since, until)
 CROSS JOIN LATERAL (
       SELECT occurred_at, kind FROM event
        WHERE tenant_no = $1 AND occurred_at >= edge.since AND occurred_at < edge.until
          AND ($6::int[] IS NULL OR kind = ANY($6)) AND ($7::bigint[] IS NULL OR actor = ANY($7))
       OFFSET 0) e
 GROUP BY 1, 2

-- name: slots_of_actors
-- Not on SQLite, which reads one part of a period after the other: events of some actors by slot. $5 are the slots of
-- the spans. The caller adds up, since to group here would sort.
SELECT s.slot, r.actor, r.kind, r.events
  FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::int[]) AS s (level, first, last, slot)
  JOIN bucket b ON b.tenant_no = $1 AND b.level = s.level AND b.bucket BETWEEN s.first AND s.last
 CROSS JOIN LATERAL (
       SELECT actor, kind, events FROM rollup_actor
        WHERE tenant_no = $1 AND level = b.level AND bucket = b.bucket AND actor = ANY($6::bigint[])
          AND ($7::int[] IS NULL OR kind = ANY($7))
       OFFSET 0) r

-- name: edge_of_actors
-- $4 are the slots of the edges.
SELECT edge.slot, e.actor, e.kind, count(*)
  FROM unnest($2::bigint[], $3::bigint[], $4::int[]) AS edge (since, until, slot)
 CROSS JOIN LATERAL (
       SELECT actor, kind FROM event
        WHERE tenant_no = $1 AND occurred_at >= edge.since AND occurred_at < edge.until
          AND actor = ANY($5::bigint[]) AND ($6::int[] IS NULL OR kind = ANY($6))
       OFFSET 0) e
 GROUP BY edge.slot, e.actor, e.kind

-- name: times_of_actors
-- When the first and the last event of each actor occurred.
SELECT a.actor, (SELECT min(occurred_at) FROM event WHERE tenant_no = $1 AND actor = a.actor),
       (SELECT max(occurred_at) FROM event WHERE tenant_no = $1 AND actor = a.actor)
  FROM unnest($2::bigint[]) AS a (actor)

-- name: buckets_with_actor
-- The first and the last bucket of each span in which its actor has events of some kinds. The kinds of each are the text
-- of an array, since an array of arrays has rows of one length. Asked and answered in order.
SELECT (SELECT min(b.bucket) FROM bucket b
         WHERE b.tenant_no = $1 AND b.level = s.level AND b.bucket BETWEEN s.first AND s.last
           AND EXISTS (SELECT 1 FROM rollup_actor r
                        WHERE r.tenant_no = $1 AND r.level = b.level AND r.bucket = b.bucket AND r.actor = s.actor
                          AND r.kind = ANY(s.kinds::int[]) OFFSET 0)),
       (SELECT max(b.bucket) FROM bucket b
         WHERE b.tenant_no = $1 AND b.level = s.level AND b.bucket BETWEEN s.first AND s.last
           AND EXISTS (SELECT 1 FROM rollup_actor r
                        WHERE r.tenant_no = $1 AND r.level = b.level AND r.bucket = b.bucket AND r.actor = s.actor
                          AND r.kind = ANY(s.kinds::int[]) OFFSET 0))
  FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[]) WITH ORDINALITY
       AS s (level, first, last, actor, kinds, number)
 ORDER BY s.number

-- name: causes_of_actor
-- The last events of an actor in a period: whether each names a cause, and the actor of that cause. OFFSET 0 keeps the
-- planner from making it a join, which scans.
SELECT e.occurred_at, e.position, e.causation_id IS NOT NULL, c.actor
  FROM (SELECT occurred_at, position, cause_id, causation_id FROM event
         WHERE tenant_no = $1 AND actor = $2 AND occurred_at >= $3 AND occurred_at < $4
         ORDER BY occurred_at DESC, position DESC LIMIT $5) e
  LEFT JOIN LATERAL (
       SELECT actor FROM event WHERE tenant_no = $1 AND id = e.cause_id OFFSET 0) c ON true

-- name: events_of_actors
-- The first event of each kind that an actor has in an edge, and with -1 for $5 the last one.
SELECT s.number, e.kind, e.occurred_at, e.position, e.id
  FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS s (since, until, actor, number)
 CROSS JOIN LATERAL (
       SELECT DISTINCT ON (kind) kind, occurred_at, position, id FROM event
        WHERE tenant_no = $1 AND actor = s.actor AND occurred_at >= s.since AND occurred_at < s.until
        ORDER BY kind, occurred_at * $5::int, position * $5::int) e

-- name: buckets
-- The caller adds the direction to the three walks.
SELECT bucket, events FROM bucket WHERE tenant_no = $1 AND level = $2 AND bucket BETWEEN $3 AND $4
 ORDER BY bucket

-- name: buckets_of_kinds
SELECT bucket, sum(events)::bigint FROM rollup_kind
 WHERE tenant_no = $1 AND level = $2 AND bucket BETWEEN $3 AND $4 AND kind = ANY($5::int[])
 GROUP BY bucket ORDER BY bucket

-- name: buckets_of_actors
SELECT b.bucket, sum(r.events)::bigint
  FROM bucket b
 CROSS JOIN LATERAL (
       SELECT kind, events FROM rollup_actor
        WHERE tenant_no = $1 AND level = b.level AND bucket = b.bucket AND actor = ANY($5::bigint[])
       OFFSET 0) r
 WHERE b.tenant_no = $1 AND b.level = $2 AND b.bucket BETWEEN $3 AND $4
   AND ($6::int[] IS NULL OR r.kind = ANY($6))
 GROUP BY b.bucket ORDER BY b.bucket

-- name: plan_by_size
-- For the transaction of a trace. A plan that was kept from when the log was small may read all events of the tenant for
-- each hop, until the tables are analyzed. A new plan goes by the size that the tables have now.
SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off

-- name: graph_events
-- The fields of an event that a graph uses. The caller adds the condition. Subqueries instead of joins, so that the
-- planner never scans a table of names.
SELECT e.position, e.id, e.causation_id, e.occurred_at, e.kind,
       (SELECT correlation_id FROM flow WHERE tenant_no = $1 AND flow = e.flow),
       (SELECT actor_id FROM actor WHERE tenant_no = $1 AND actor = e.actor),
       (SELECT resource_id FROM resource WHERE tenant_no = $1 AND resource = e.resource)
  FROM event e
 WHERE e.tenant_no = $1 AND ($2::int[] IS NULL OR e.kind = ANY($2))

-- name: payload_sizes
-- $3 are the kinds that the viewer may see, null for all.
SELECT position, coalesce(octet_length(payload), 0) FROM event
 WHERE tenant_no = $1 AND position = ANY($2::bigint[]) AND ($3::int[] IS NULL OR kind = ANY($3))

-- name: payloads
SELECT position, payload FROM event WHERE tenant_no = $1 AND position = ANY($2::bigint[])

-- name: graph_events_by_flow
-- The same for some flows, in any order, with the numbers of actors and resources instead of their ids. On SQLite
-- keys_by_flow does this.
SELECT e.position, e.id, e.causation_id, e.occurred_at, e.kind, f.correlation_id, e.actor, e.resource
  FROM (SELECT flow, correlation_id FROM flow WHERE tenant_no = $1 AND correlation_id = ANY($3::text[])) f
 CROSS JOIN LATERAL (
       SELECT position, id, causation_id, occurred_at, kind, actor, resource FROM event
        WHERE tenant_no = $1 AND flow = f.flow AND ($2::int[] IS NULL OR kind = ANY($2))
        LIMIT $4) e
 LIMIT $4

-- name: names
-- Not on SQLite, where a join costs less: numbers and ids of some actors, and of some resources. One row of arrays,
-- since each row has a cost to send and to decode.
SELECT a.numbers, a.ids, r.numbers, r.ids
  FROM (SELECT array_agg(actor) AS numbers, array_agg(actor_id) AS ids
          FROM actor WHERE tenant_no = $1 AND actor = ANY($2::bigint[])) a
 CROSS JOIN (SELECT array_agg(resource) AS numbers, array_agg(resource_id) AS ids
               FROM resource WHERE tenant_no = $1 AND resource = ANY($3::bigint[])) r

-- name: keys_by_cause
-- The effects of some causes, in any order; all of them when there are fewer than the limit. The caller adds the limit,
-- and the kinds when the viewer may not see all: without the kinds, an index-only scan answers.
SELECT position FROM event WHERE tenant_no = $1 AND cause_id = ANY($2::uuid[])

-- name: keys_by_cause_in_order
-- The effects of some causes by time; of each cause no more than the limit are read.
SELECT e.position
  FROM unnest($3::uuid[]) AS asked (cause)
 CROSS JOIN LATERAL (
       SELECT position, occurred_at FROM event
        WHERE tenant_no = $1 AND cause_id = asked.cause AND ($2::int[] IS NULL OR kind = ANY($2))
        ORDER BY occurred_at, position LIMIT $4) e
 ORDER BY e.occurred_at, e.position LIMIT $4

-- name: causes_above
-- An event and its causes, nearest first: at most $4 of them. OFFSET 0
-- keeps the planner from making it a join, which scans, and the sum, here and below, from using the index on kinds.
WITH RECURSIVE above (position, cause_id, hop) AS (
    SELECT position, cause_id, 1
      FROM event WHERE tenant_no = $1 AND id = $3 AND ($2::int[] IS NULL OR kind + 0 = ANY($2))
     UNION ALL
    SELECT e.position, e.cause_id, above.hop + 1
      FROM above
     CROSS JOIN LATERAL (
           SELECT position, cause_id FROM event
            WHERE tenant_no = $1 AND id = above.cause_id AND ($2::int[] IS NULL OR kind + 0 = ANY($2)) OFFSET 0) e
     WHERE above.hop < $4)
SELECT position FROM above ORDER BY hop

-- name: effects_below
-- What some causes led to within $4 hops: each event with its distance, at most $5 of them. Events of a cycle repeat. The
-- order is that of event_cause, which makes the planner use this index, also when one cause has most of the effects.
WITH RECURSIVE below (position, id, hop) AS (
    SELECT e.position, e.id, 1
      FROM unnest($3::uuid[]) AS asked (cause)
     CROSS JOIN LATERAL (
           SELECT position, id FROM event
            WHERE tenant_no = $1 AND cause_id = asked.cause AND ($2::int[] IS NULL OR kind + 0 = ANY($2))
            ORDER BY occurred_at, position LIMIT $5) e
     UNION ALL
    SELECT e.position, e.id, below.hop + 1
      FROM below
     CROSS JOIN LATERAL (
           SELECT position, id FROM event
            WHERE tenant_no = $1 AND cause_id = below.id AND ($2::int[] IS NULL OR kind + 0 = ANY($2))
            ORDER BY occurred_at, position LIMIT $5) e
     WHERE below.hop < $4)
SELECT position, hop FROM below LIMIT $5

-- name: flows_seen
-- The flows of a viewer who may see these kinds only. It precedes the statements on flows, as a WITH clause.
WITH seen (flow, events, failures, first_at, last_at) AS (
  SELECT flow, count(*), count(*) FILTER (WHERE kind = ANY($3::int[])), min(occurred_at), max(occurred_at)
    FROM event WHERE tenant_no = $1 AND kind = ANY($2::int[]) GROUP BY flow)

-- name: flow_events
-- The first events of some flows by time.
SELECT asked.flow, e.position, e.id, e.cause_id, e.actor
  FROM unnest($3::bigint[]) AS asked (flow)
 CROSS JOIN LATERAL (
       SELECT position, id, cause_id, actor, occurred_at FROM event
        WHERE tenant_no = $1 AND flow = asked.flow AND ($2::int[] IS NULL OR kind = ANY($2))
        ORDER BY occurred_at, position LIMIT $4) e
 ORDER BY asked.flow, e.occurred_at, e.position

-- name: unfolded_causes
SELECT id, cause_id, occurred_at, kind FROM event WHERE tenant_no = $1 AND position > $2

-- name: times_of_ids
SELECT id, occurred_at, kind FROM event WHERE tenant_no = $1 AND id = ANY($2::uuid[])

-- name: earlier_effects
-- Events up to a position that name causes stored after it.
SELECT cause_id, occurred_at, kind FROM event
 WHERE tenant_no = $1 AND cause_id = ANY($2::uuid[]) AND position <= $3

-- name: transition_sizes
-- The rows of some buckets, newest first.
SELECT asked.level, asked.bucket, l.up_to, octet_length(l.counts)
  FROM unnest($2::int[], $3::bigint[]) AS asked (level, bucket)
  JOIN transition l ON l.tenant_no = $1 AND l.level = asked.level AND l.bucket = asked.bucket
 ORDER BY l.up_to DESC

-- name: take_transitions
-- Removes the newest rows of some buckets, each from a position on, and returns their counts.
DELETE FROM transition l USING unnest($2::int[], $3::bigint[], $4::bigint[]) AS asked (level, bucket, up_to)
 WHERE l.tenant_no = $1 AND l.level = asked.level AND l.bucket = asked.bucket AND l.up_to >= asked.up_to
RETURNING l.level, l.bucket, l.counts

-- name: add_transitions
INSERT INTO transition (tenant_no, level, bucket, up_to, counts)
SELECT $1, level, bucket, $2, counts FROM unnest($3::int[], $4::bigint[], $5::bytea[]) AS new (level, bucket, counts)
RETURNING tenant_no

-- name: unfolded_events
SELECT occurred_at, kind, actor FROM event WHERE tenant_no = $1 AND position > $2

-- name: first_actor_totals
-- The events up to the last fold of a bucket that was just divided.
SELECT actor, kind, count(*) FROM event
 WHERE tenant_no = $1 AND occurred_at >= $2 AND occurred_at < $3 AND position <= $4
 GROUP BY actor, kind

-- name: actor_total_sizes
-- The rows of some buckets, newest first.
SELECT asked.level, asked.bucket, t.up_to, octet_length(t.counts)
  FROM unnest($2::int[], $3::bigint[]) AS asked (level, bucket)
  JOIN actor_total t ON t.tenant_no = $1 AND t.level = asked.level AND t.bucket = asked.bucket
 ORDER BY t.up_to DESC

-- name: actor_totals_of
-- All rows of some buckets.
SELECT asked.level, asked.bucket, t.counts
  FROM unnest($2::int[], $3::bigint[]) AS asked (level, bucket)
  JOIN actor_total t ON t.tenant_no = $1 AND t.level = asked.level AND t.bucket = asked.bucket

-- name: take_actor_totals
-- Removes the newest rows of some buckets, each from a position on, and returns their counts.
DELETE FROM actor_total t USING unnest($2::int[], $3::bigint[], $4::bigint[]) AS asked (level, bucket, up_to)
 WHERE t.tenant_no = $1 AND t.level = asked.level AND t.bucket = asked.bucket AND t.up_to >= asked.up_to
RETURNING t.level, t.bucket, t.counts

-- name: add_actor_totals
INSERT INTO actor_total (tenant_no, level, bucket, up_to, counts)
SELECT $1, level, bucket, $2, counts FROM unnest($3::int[], $4::bigint[], $5::bytea[]) AS new (level, bucket, counts)
RETURNING tenant_no

-- name: span_of_transitions
SELECT l.counts
  FROM unnest($2::int[], $3::bigint[], $4::bigint[]) AS asked (level, first, last)
  JOIN transition l ON l.tenant_no = $1 AND l.level = asked.level AND l.bucket BETWEEN asked.first AND asked.last

-- name: span_of_removed_transitions
SELECT l.counts
  FROM unnest($2::int[], $3::bigint[], $4::bigint[]) AS asked (level, first, last)
  JOIN removed_transition l ON l.tenant_no = $1 AND l.level = asked.level AND l.bucket BETWEEN asked.first AND asked.last

-- name: add_key
INSERT INTO api_key (id, hash, tenant, name, scopes, created_at, expires_at, revoked_at, last_used_at, ceiling)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: key
-- The caller adds the condition.
SELECT id, hash, tenant, name, scopes, created_at, expires_at, revoked_at, last_used_at, ceiling FROM api_key

-- name: keys_after
-- The part of a tenant's keys that follows a place in its list. A null limit is none.
SELECT id, hash, tenant, name, scopes, created_at, expires_at, revoked_at, last_used_at, ceiling FROM api_key
 WHERE tenant = $1 AND (created_at, id) > ($2::bigint, $3::text)
 ORDER BY created_at, id LIMIT $4

-- name: lock_limit
-- Not on SQLite, which has one writer. Held while keys or definitions of a tenant, or the sessions of a key, are counted
-- and one is added, so that concurrent transactions cannot pass the limit together, and while a tenant is deleted.
SELECT pg_advisory_xact_lock(hashtextextended($1, 5708721397))

-- name: count_keys
-- Those that are neither revoked nor expired, and all.
SELECT (SELECT count(*) FROM api_key
         WHERE tenant = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)),
       (SELECT count(*) FROM api_key WHERE tenant = $1)

-- name: revoke_key
UPDATE api_key SET revoked_at = coalesce(revoked_at, $1) WHERE tenant = $2 AND id = $3 RETURNING id

-- name: lock_key_uses
-- Prevents a deadlock between two servers that update the same keys in different orders. An advisory lock and not
-- SELECT FOR UPDATE in a subquery, since Citus applies each write to a reference table's copy on every node.
SELECT pg_advisory_xact_lock(5708721395)

-- name: touch_key
UPDATE api_key k SET last_used_at = greatest(k.last_used_at, used.at)
  FROM unnest($1::text[], $2::bigint[]) AS used (id, at)
 WHERE k.id = used.id

-- name: add_session
INSERT INTO session (hash, key_id, expires_at, tenant, scopes) VALUES ($1, $2, $3, $4, $5)

-- name: count_sessions
-- The sessions of a key in one tenant, and when the first of them ends.
SELECT count(*), min(expires_at) FROM session
 WHERE key_id = $1 AND tenant IS NOT DISTINCT FROM $2 AND expires_at > $3

-- name: lock_sessions
-- Held by a transaction that deletes several sessions, so that two of them never deadlock.
SELECT pg_advisory_xact_lock(5708721396)

-- name: try_lock_sessions
-- Takes the same lock without waiting: when another server holds it, that server deletes the expired sessions. Not SKIP
-- LOCKED, for the reason given at lock_key_uses.
SELECT pg_try_advisory_xact_lock(5708721396)

-- name: delete_expired_sessions
DELETE FROM session WHERE expires_at <= $1

-- name: find_session
SELECT hash, key_id, expires_at, tenant, scopes FROM session WHERE hash = $1

-- name: end_session
DELETE FROM session WHERE hash = $1

-- name: take_session
DELETE FROM session WHERE hash = $1 RETURNING hash, key_id, expires_at, tenant, scopes

-- name: end_sessions_of_key
DELETE FROM session WHERE key_id = $1

-- name: take_lease
-- Not on SQLite, which has no leases. By the clock of the database, since those of several machines differ. When another
-- transaction is taking the same lease, it waits for that. The condition compares only columns: Citus takes no clock in
-- it, which could differ between the copies of the table.
INSERT INTO lease (name, owner, taken_at, expires_at)
VALUES ($1, $2, (date_part('epoch', clock_timestamp()) * 1000000)::bigint,
        (date_part('epoch', clock_timestamp()) * 1000000)::bigint + $3::bigint)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, taken_at = excluded.taken_at, expires_at = excluded.expires_at
 WHERE lease.owner = excluded.owner OR lease.expires_at <= excluded.taken_at
RETURNING true

-- name: release_lease
-- Not on SQLite, which has no leases.
DELETE FROM lease WHERE name = $1 AND owner = $2

-- name: count_definitions
-- The others of a kind.
SELECT count(*) FROM definition WHERE kind = $1 AND tenant = $2 AND id <> $3

-- name: add_definition
INSERT INTO definition (kind, tenant, id, version, body) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING id

-- name: change_definition
UPDATE definition SET version = $4, body = $5 WHERE kind = $1 AND tenant = $2 AND id = $3 AND version = $4 - 1
RETURNING id

-- name: definition
SELECT tenant, kind, id, version, body FROM definition WHERE kind = $1 AND tenant = $2 AND id = $3

-- name: definitions
SELECT tenant, kind, id, version, body FROM definition WHERE kind = $1 ORDER BY tenant, id

-- name: definitions_of_tenant
SELECT tenant, kind, id, version, body FROM definition WHERE kind = $1 AND tenant = $2 ORDER BY id

-- name: delete_definition
DELETE FROM definition WHERE kind = $1 AND tenant = $2 AND id = $3 RETURNING id

-- name: place
SELECT name, position, state FROM follower WHERE tenant_no = $1 AND name = $2

-- name: places
SELECT name, position FROM follower WHERE tenant_no = $1 ORDER BY name

-- name: save_place
INSERT INTO follower (tenant_no, name, position, state) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_no, name) DO UPDATE SET position = excluded.position, state = excluded.state

-- name: delete_place
DELETE FROM follower WHERE tenant_no = $1 AND name = $2

-- name: add_delivery
INSERT INTO delivery (tenant_no, webhook_id, position, state, due_at, changed_at, attempts, attempts_in_all)
SELECT $1, $2::text, position, 0, $4::bigint, $4::bigint, 0, 0 FROM unnest($3::bigint[]) AS added (position)
ON CONFLICT DO NOTHING

-- name: due_deliveries
-- State 0, here and below, is written out, so that the index of these is used.
SELECT webhook_id, position, state, due_at, changed_at, attempts, attempts_in_all
  FROM delivery
 WHERE tenant_no = $1 AND webhook_id = $2 AND state = 0 AND due_at <= $3
 ORDER BY due_at, position LIMIT $4

-- name: next_due
SELECT min(due_at) FROM delivery WHERE tenant_no = $1 AND webhook_id = $2 AND state = 0

-- name: delivery
SELECT webhook_id, position, state, due_at, changed_at, attempts, attempts_in_all
  FROM delivery
 WHERE tenant_no = $1 AND webhook_id = $2 AND position = $3

-- name: deliveries
-- Those in some states: each is read in order from its part of the index.
SELECT d.*
  FROM unnest($3::int[]) AS asked (state)
 CROSS JOIN LATERAL (
       SELECT webhook_id, position, state, due_at, changed_at, attempts, attempts_in_all
         FROM delivery
        WHERE tenant_no = $1 AND webhook_id = $2 AND state = asked.state AND position > $4
        ORDER BY position LIMIT $5) d
 ORDER BY d.position LIMIT $5

-- name: count_deliveries
SELECT state, count(*) FROM delivery WHERE tenant_no = $1 AND webhook_id = $2 GROUP BY state

-- name: lock_deliveries
-- Not on SQLite, which has one writer. Held by a transaction that changes or deletes deliveries of a tenant which are
-- there, so that two of them never deadlock. Not SELECT FOR UPDATE, which would take a row lock for each.
SELECT pg_advisory_xact_lock(hashtextextended($1, 5708721398))

-- name: lock_removals
-- Not on SQLite, which has one writer. Held by a removal from before its first statement that changes rows. A purge
-- deletes events before it has the head's row lock, so without this lock it and an erasure could deadlock.
SELECT pg_advisory_xact_lock(hashtextextended($1, 1163150162))

-- name: change_delivery
-- Returns those that are still there.
UPDATE delivery d
   SET state = c.state, due_at = c.due_at, changed_at = c.changed_at, attempts = c.attempts,
       attempts_in_all = c.attempts_in_all
  FROM unnest($2::text[], $3::bigint[], $4::int[], $5::bigint[], $6::bigint[], $7::int[], $8::int[])
       AS c (webhook_id, position, state, due_at, changed_at, attempts, attempts_in_all)
 WHERE d.tenant_no = $1 AND d.webhook_id = c.webhook_id AND d.position = c.position
RETURNING d.webhook_id, d.position

-- name: erased_positions
-- Those of the given positions whose events have no payload any more. On SQLite, `add_attempt` looks for itself. Citus
-- cannot plan an INSERT that looks into another table of the tenant.
SELECT position FROM event WHERE tenant_no = $1 AND position = ANY($2::bigint[]) AND payload IS NULL

-- name: add_attempt
INSERT INTO attempt (tenant_no, webhook_id, position, number, started_at, duration_ms, status, error, answer)
SELECT $1, s.*
  FROM unnest($2::text[], $3::bigint[], $4::int[], $5::bigint[], $6::int[], $7::int[], $8::text[], $9::bytea[]) AS s
ON CONFLICT DO NOTHING

-- name: attempts
SELECT webhook_id, position, number, started_at, duration_ms, status, error, answer
  FROM attempt
 WHERE tenant_no = $1 AND webhook_id = $2 AND position = $3
 ORDER BY number

-- name: retry_delivery
UPDATE delivery SET state = 0, due_at = $4, changed_at = $4, attempts = 0
 WHERE tenant_no = $1 AND webhook_id = $2 AND position = ANY($3::bigint[])

-- name: old_deliveries
SELECT position FROM delivery
 WHERE tenant_no = $1 AND webhook_id = $2 AND state <> 0 AND changed_at < $3
 ORDER BY changed_at, position LIMIT $4

-- name: delete_delivery
DELETE FROM delivery WHERE tenant_no = $1 AND webhook_id = $2 AND position = ANY($3::bigint[])

-- name: delete_attempts
DELETE FROM attempt WHERE tenant_no = $1 AND webhook_id = $2 AND position = ANY($3::bigint[])

-- name: webhooks_with_deliveries
-- One seek for each webhook.
WITH RECURSIVE found (webhook_id) AS (
    SELECT (SELECT min(webhook_id) FROM delivery WHERE tenant_no = $1)
     UNION ALL
    SELECT (SELECT min(d.webhook_id) FROM delivery d WHERE d.tenant_no = $1 AND d.webhook_id > found.webhook_id)
      FROM found WHERE found.webhook_id IS NOT NULL)
SELECT webhook_id FROM found WHERE webhook_id IS NOT NULL

-- The blocks from here to `notify` are for the role whence_keeper.

-- name: plan_by_key
-- For the transaction of a removal. Its statements find some hundred rows of a table by their keys, in subqueries with
-- OFFSET 0, and then take each by its place (ctid). A join by key may read all rows of the tenant as often, if the tables
-- have no statistics yet.
SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off; SET LOCAL enable_material = off

-- name: hold_versions
SELECT id, version FROM definition WHERE kind = $1 AND tenant = $2

-- name: erase_answers
UPDATE attempt SET answer = '' WHERE tenant_no = $1 AND webhook_id = $2 AND position = ANY($3::bigint[])

-- name: erase_answers_of_actor
UPDATE attempt t SET answer = ''
 WHERE t.tenant_no = $1 AND t.answer <> ''
   AND EXISTS (SELECT 1 FROM event e WHERE e.tenant_no = $1 AND e.position = t.position AND e.actor = $2)

-- name: payloads_to_erase
-- $3 are the types of the events whose payloads stay.
SELECT e.position, e.payload_bytes
  FROM unnest($2::bigint[]) AS asked (position)
 CROSS JOIN LATERAL (
       SELECT position, kind, octet_length(payload) AS payload_bytes FROM event
        WHERE tenant_no = $1 AND position = asked.position OFFSET 0) e
 WHERE e.payload_bytes IS NOT NULL
   AND (SELECT k.event_type FROM kind k WHERE k.tenant_no = $1 AND k.kind = e.kind) <> ALL($3::text[])

-- name: erase_payload
-- Hashed here, since some hundred payloads may have 128 MiB.
UPDATE event t
   SET payload_hash = coalesce(t.payload_hash, sha256(t.salt || t.payload)), payload = NULL, salt = NULL, erased_at = $3
  FROM (SELECT found.ctid
          FROM unnest($2::bigint[]) AS asked (position)
         CROSS JOIN LATERAL (
               SELECT ctid FROM event WHERE tenant_no = $1 AND position = asked.position OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid

-- name: erase_actor
UPDATE actor SET actor_id = $3, erased_at = $4 WHERE tenant_no = $1 AND actor = $2

-- name: events_of_actor
SELECT coalesce(sum(events), 0)::bigint FROM rollup_actor WHERE tenant_no = $1 AND level = 0 AND bucket = 0 AND actor = $2

-- name: purge_rows
SELECT position, id, occurred_at, recorded_at, kind, actor, flow, resource, cause_id AS cause,
       coalesce(octet_length(payload), 0) AS payload_bytes
  FROM event
 WHERE tenant_no = $1 AND position >= $2 AND position < $3
 ORDER BY position

-- name: folded_causes
-- Events up to a position, here and below: later ones are in no transition yet.
SELECT e.id, e.occurred_at, e.kind
  FROM unnest($3::uuid[]) AS asked (id)
 CROSS JOIN LATERAL (
       SELECT id, occurred_at, kind, position FROM event WHERE tenant_no = $1 AND id = asked.id OFFSET 0) e
 WHERE e.position <= $2

-- name: folded_effects
SELECT e.cause_id, e.occurred_at, e.kind, e.position
  FROM unnest($3::uuid[]) AS asked (id)
 CROSS JOIN LATERAL (
       SELECT cause_id, occurred_at, kind, position FROM event WHERE tenant_no = $1 AND cause_id = asked.id OFFSET 0) e
 WHERE e.position <= $2

-- name: removed_transition_sizes
-- The rows of some buckets, newest first.
SELECT asked.level, asked.bucket, l.up_to, octet_length(l.counts)
  FROM unnest($2::int[], $3::bigint[]) AS asked (level, bucket)
  JOIN removed_transition l ON l.tenant_no = $1 AND l.level = asked.level AND l.bucket = asked.bucket
 ORDER BY l.up_to DESC

-- name: take_removed_transitions
DELETE FROM removed_transition l USING unnest($2::int[], $3::bigint[], $4::bigint[]) AS asked (level, bucket, up_to)
 WHERE l.tenant_no = $1 AND l.level = asked.level AND l.bucket = asked.bucket AND l.up_to >= asked.up_to
RETURNING l.level, l.bucket, l.counts

-- name: add_removed_transitions
INSERT INTO removed_transition (tenant_no, level, bucket, up_to, counts)
SELECT $1, level, bucket, $2, counts FROM unnest($3::int[], $4::bigint[], $5::bytea[]) AS new (level, bucket, counts)
RETURNING tenant_no

-- name: delete_event
DELETE FROM event t
 USING (SELECT found.ctid
          FROM unnest($2::bigint[]) AS asked (position)
         CROSS JOIN LATERAL (
               SELECT ctid FROM event WHERE tenant_no = $1 AND position = asked.position OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid

-- name: has_events_between
-- Which of some periods have an event. Searched from the late end of each: a purge takes the events of the early end,
-- whose entries in the index stay until VACUUM.
SELECT asked.level, asked.bucket
  FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::bigint[]) AS asked (level, bucket, since, until)
 WHERE (SELECT position FROM event
         WHERE tenant_no = $1 AND occurred_at >= asked.since AND occurred_at < asked.until
         ORDER BY occurred_at DESC LIMIT 1) IS NOT NULL

-- name: delete_transitions
DELETE FROM transition t
 USING (SELECT found.ctid
          FROM unnest($2::int[], $3::bigint[]) AS asked (level, bucket)
         CROSS JOIN LATERAL (
               SELECT ctid FROM transition
                WHERE tenant_no = $1 AND level = asked.level AND bucket = asked.bucket OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid

-- name: delete_removed_transitions
DELETE FROM removed_transition t
 USING (SELECT found.ctid
          FROM unnest($2::int[], $3::bigint[]) AS asked (level, bucket)
         CROSS JOIN LATERAL (
               SELECT ctid FROM removed_transition
                WHERE tenant_no = $1 AND level = asked.level AND bucket = asked.bucket OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid

-- name: take_from_bucket
UPDATE bucket t
   SET events = t.events - gone.events
  FROM (SELECT found.ctid, asked.*
          FROM unnest($2::int[], $3::bigint[], $4::bigint[]) AS asked (level, bucket, events)
         CROSS JOIN LATERAL (
               SELECT ctid FROM bucket
                WHERE tenant_no = $1 AND level = asked.level AND bucket = asked.bucket
                  AND events > asked.events OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid
RETURNING t.level

-- name: delete_bucket
DELETE FROM bucket t
 USING (SELECT found.ctid
          FROM unnest($2::int[], $3::bigint[]) AS asked (level, bucket)
         CROSS JOIN LATERAL (
               SELECT ctid FROM bucket
                WHERE tenant_no = $1 AND level = asked.level AND bucket = asked.bucket OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid

-- name: delete_rollup_kind
DELETE FROM rollup_kind t
 USING (SELECT found.ctid
          FROM unnest($2::int[], $3::bigint[]) AS asked (level, bucket)
         CROSS JOIN LATERAL (
               SELECT ctid FROM rollup_kind
                WHERE tenant_no = $1 AND level = asked.level AND bucket = asked.bucket OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid

-- name: delete_rollup_actor
DELETE FROM rollup_actor t
 USING (SELECT found.ctid
          FROM unnest($2::int[], $3::bigint[]) AS asked (level, bucket)
         CROSS JOIN LATERAL (
               SELECT ctid FROM rollup_actor
                WHERE tenant_no = $1 AND level = asked.level AND bucket = asked.bucket OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid

-- name: delete_actor_totals
DELETE FROM actor_total t
 USING (SELECT found.ctid
          FROM unnest($2::int[], $3::bigint[]) AS asked (level, bucket)
         CROSS JOIN LATERAL (
               SELECT ctid FROM actor_total
                WHERE tenant_no = $1 AND level = asked.level AND bucket = asked.bucket OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid

-- name: drop_from_rollup_kind
-- The rows that count no other events, here and in the blocks of this form below. Those that count more are next.
DELETE FROM rollup_kind t
 USING (SELECT found.ctid
          FROM unnest($2::int[], $3::bigint[], $4::int[], $5::bigint[]) AS asked (level, bucket, kind, events)
         CROSS JOIN LATERAL (
               SELECT ctid FROM rollup_kind
                WHERE tenant_no = $1 AND level = asked.level AND bucket = asked.bucket AND kind = asked.kind
                  AND events = asked.events OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid
RETURNING t.level, t.kind

-- name: take_from_rollup_kind
UPDATE rollup_kind t
   SET events = t.events - gone.events
  FROM (SELECT found.ctid, asked.*
          FROM unnest($2::int[], $3::bigint[], $4::int[], $5::bigint[]) AS asked (level, bucket, kind, events)
         CROSS JOIN LATERAL (
               SELECT ctid FROM rollup_kind
                WHERE tenant_no = $1 AND level = asked.level AND bucket = asked.bucket AND kind = asked.kind
                  AND events > asked.events OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid
RETURNING t.level

-- name: drop_from_rollup_actor
DELETE FROM rollup_actor t
 USING (SELECT found.ctid
          FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::int[], $6::bigint[])
               AS asked (level, bucket, actor, kind, events)
         CROSS JOIN LATERAL (
               SELECT ctid FROM rollup_actor
                WHERE tenant_no = $1 AND level = asked.level AND bucket = asked.bucket
                  AND actor = asked.actor AND kind = asked.kind AND events = asked.events OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid
RETURNING t.level

-- name: take_from_rollup_actor
UPDATE rollup_actor t
   SET events = t.events - gone.events
  FROM (SELECT found.ctid, asked.*
          FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::int[], $6::bigint[])
               AS asked (level, bucket, actor, kind, events)
         CROSS JOIN LATERAL (
               SELECT ctid FROM rollup_actor
                WHERE tenant_no = $1 AND level = asked.level AND bucket = asked.bucket
                  AND actor = asked.actor AND kind = asked.kind AND events > asked.events OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid
RETURNING t.level

-- name: drop_flow
DELETE FROM flow t
 USING (SELECT found.ctid
          FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS asked (flow, events, failures)
         CROSS JOIN LATERAL (
               SELECT ctid FROM flow
                WHERE tenant_no = $1 AND flow = asked.flow AND events = asked.events
                  AND failures = asked.failures OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid
RETURNING t.flow

-- name: take_from_flow
-- The times are those of the events that are left, since the ones that go are deleted before.
UPDATE flow t
   SET events = t.events - gone.events, failures = t.failures - gone.failures,
       first_at = (SELECT min(e.occurred_at) FROM event e WHERE e.tenant_no = $1 AND e.flow = gone.flow),
       last_at = (SELECT max(e.occurred_at) FROM event e WHERE e.tenant_no = $1 AND e.flow = gone.flow)
  FROM (SELECT found.ctid, asked.*
          FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS asked (flow, events, failures)
         CROSS JOIN LATERAL (
               SELECT ctid FROM flow
                WHERE tenant_no = $1 AND flow = asked.flow AND events > asked.events
                  AND failures >= asked.failures OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid
RETURNING t.flow

-- name: drop_resource
DELETE FROM resource t
 USING (SELECT found.ctid
          FROM unnest($2::bigint[], $3::bigint[]) AS asked (resource, events)
         CROSS JOIN LATERAL (
               SELECT ctid FROM resource
                WHERE tenant_no = $1 AND resource = asked.resource AND events = asked.events OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid
RETURNING t.resource

-- name: take_from_resource
UPDATE resource t
   SET events = t.events - gone.events
  FROM (SELECT found.ctid, asked.*
          FROM unnest($2::bigint[], $3::bigint[]) AS asked (resource, events)
         CROSS JOIN LATERAL (
               SELECT ctid FROM resource
                WHERE tenant_no = $1 AND resource = asked.resource AND events > asked.events OFFSET 0) found
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid
RETURNING t.resource

-- name: drop_unused_kind
-- The one bucket of level 0 has a row for each kind and each actor that an event has.
DELETE FROM kind t
 USING (SELECT found.ctid
          FROM unnest($2::int[]) AS asked (kind)
         CROSS JOIN LATERAL (
               SELECT ctid FROM kind WHERE tenant_no = $1 AND kind = asked.kind OFFSET 0) found
         WHERE (SELECT r.kind FROM rollup_kind r
                 WHERE r.tenant_no = $1 AND r.level = 0 AND r.bucket = 0 AND r.kind = asked.kind LIMIT 1) IS NULL
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid
RETURNING t.kind

-- name: drop_unused_actor
DELETE FROM actor t
 USING (SELECT found.ctid
          FROM unnest($2::bigint[]) AS asked (actor)
         CROSS JOIN LATERAL (
               SELECT ctid FROM actor WHERE tenant_no = $1 AND actor = asked.actor OFFSET 0) found
         WHERE (SELECT r.actor FROM rollup_actor r
                 WHERE r.tenant_no = $1 AND r.level = 0 AND r.bucket = 0 AND r.actor = asked.actor LIMIT 1) IS NULL
        OFFSET 0) gone
 WHERE t.tenant_no = $1 AND t.ctid = gone.ctid

-- name: save_purge
UPDATE head SET folded_to = $2, payload_bytes = $3, measured_to = $4, kinds_removed = $5, removed_recorded_at = $6,
       retained_from = $7, kinds_version = $8, removal_epoch = removal_epoch + 1
 WHERE tenant_no = $1

-- name: save_erasure
UPDATE head SET payload_bytes = $2, measured_to = $3, removal_epoch = removal_epoch + 1 WHERE tenant_no = $1

-- name: definition_kinds
SELECT DISTINCT kind FROM definition WHERE tenant = $1

-- name: first_leaf
-- The leaf of the first position: from its event, else from the tile that has it.
SELECT coalesce((SELECT leaf FROM event WHERE tenant_no = $1 AND position = 1),
                (SELECT substr(hashes, 1, 32) FROM tile WHERE tenant_no = $1 AND level = 0 AND number = 0))

-- name: has_anything
-- Whether a tenant has keys, sessions or definitions. It may have them without events.
SELECT EXISTS (SELECT 1 FROM api_key WHERE tenant = $1) OR EXISTS (SELECT 1 FROM session WHERE tenant = $1)
    OR EXISTS (SELECT 1 FROM definition WHERE tenant = $1)

-- name: delete_sessions_of_tenant
DELETE FROM session
 WHERE tenant = $1 OR (tenant IS NULL AND key_id IN (SELECT id FROM api_key WHERE tenant = $1))

-- name: newest_key
-- When the last key of a tenant was made.
SELECT coalesce(max(created_at), 0) FROM api_key WHERE tenant = $1

-- name: delete_keys
-- Of a former tenant, and not those that were made after it was deleted.
DELETE FROM api_key WHERE tenant = $1 AND created_at <= $2

-- name: delete_definitions
DELETE FROM definition WHERE tenant = $1

-- name: rename_tenant
UPDATE tenant SET tenant = $2 WHERE tenant_no = $1

-- name: rename_head
-- Not on SQLite, where head and tenant are one row.
UPDATE head SET tenant = $2 WHERE tenant_no = $1

-- name: last_epoch
SELECT coalesce(max(epoch), 0) FROM origin WHERE tenant_no = $1

-- name: add_former_log
INSERT INTO former_log (number, tenant, epoch, size, root, deleted_at) VALUES ($1, $2, $3, $4, $5, $6)

-- name: former_logs
-- Those of a tenant, or without one those of which rows are left.
SELECT number, tenant, epoch, size, root, deleted_at, removed FROM former_log
 WHERE CASE WHEN $1::text IS NULL THEN removed = 0 ELSE tenant = $1 END ORDER BY number

-- name: former_log_removed
UPDATE former_log SET removed = 1 WHERE number = $1

-- name: later_event_of_actor
-- By position, since the actor may have very many earlier ones.
SELECT EXISTS (SELECT FROM event WHERE tenant_no = $1 AND actor + 0 = $2 AND position > $3)

-- name: first_of_actor
-- Not on SQLite, which reads the leaf with it. The earliest event that was recorded: an older dump has it, if any of them.
SELECT min(position) FROM event WHERE tenant_no = $1 AND actor = $2

-- name: leaves_at
-- Not on SQLite, which reads the leaf with the payload.
SELECT position, leaf FROM event WHERE tenant_no = $1 AND position = ANY($2::bigint[]) ORDER BY position

-- name: add_to_ledger
-- Not on SQLite, where the ledger of erasures is a file; so too the next three blocks.
INSERT INTO whence_signed.erased (tenant, positions, leaves, new_id, deleted_at) VALUES ($1, $2, $3, $4, $5)
RETURNING entry

-- name: add_erasure
INSERT INTO erasure (entry) SELECT * FROM unnest($1::bigint[]) ON CONFLICT DO NOTHING

-- name: ledger_unseen
-- The entries that this schema has not seen, since it was restored from an earlier dump.
SELECT entry, tenant, positions, leaves, new_id, deleted_at FROM whence_signed.erased l
 WHERE NOT EXISTS (SELECT FROM erasure e WHERE e.entry = l.entry) ORDER BY entry

-- The blocks up to `remove_origin` each remove a part of the rows of a former log.

-- name: remove_payload_entry
DELETE FROM payload_entry WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM payload_entry WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_payload_value
DELETE FROM payload_value WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM payload_value WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_payload_field
DELETE FROM payload_field WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM payload_field WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_event
DELETE FROM event WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM event WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_flow
DELETE FROM flow WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM flow WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_resource
DELETE FROM resource WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM resource WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_actor
DELETE FROM actor WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM actor WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_kind
DELETE FROM kind WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM kind WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_bucket
DELETE FROM bucket WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM bucket WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_rollup_kind
DELETE FROM rollup_kind WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM rollup_kind WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_rollup_actor
DELETE FROM rollup_actor WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM rollup_actor WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_transition
DELETE FROM transition WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM transition WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_removed_transition
DELETE FROM removed_transition WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM removed_transition WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_actor_total
DELETE FROM actor_total WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM actor_total WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_delivery
DELETE FROM delivery WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM delivery WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_attempt
DELETE FROM attempt WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM attempt WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_follower
DELETE FROM follower WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM follower WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_checkpoint
DELETE FROM checkpoint WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM checkpoint WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_tile
DELETE FROM tile WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM tile WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: remove_origin
DELETE FROM origin WHERE tenant_no = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM origin WHERE tenant_no = $1 LIMIT $2)) RETURNING 1

-- name: notify
-- Not on SQLite, where one process serves a file.
SELECT pg_notify($1, $2)

-- name: tenant_names
-- Those after a name; the tenant of operators' keys comes before every name. A null limit is none.
SELECT tenant FROM tenant WHERE tenant > $1 AND tenant NOT LIKE '/%'
 UNION SELECT tenant FROM api_key WHERE tenant > $1 ORDER BY 1 LIMIT $2

-- name: unsealed
-- Whether the log of one tenant is longer than its newest checkpoint. The origin of the highest epoch is in use.
SELECT h.size > coalesce((SELECT o.size FROM origin o WHERE o.tenant_no = $1 ORDER BY o.epoch DESC LIMIT 1), 0)
  FROM head h WHERE h.tenant_no = $1 AND h.tenant = $2

-- name: origins
SELECT epoch, name, key, size FROM origin WHERE tenant_no = $1 ORDER BY epoch

-- name: add_origin
INSERT INTO origin (tenant_no, epoch, name, key, size) VALUES ($1, $2, $3, $4, 0) ON CONFLICT DO NOTHING

-- name: advance_origin
-- The row is locked, so that of two transactions one finds the size that the other has set.
UPDATE origin SET size = $4 WHERE tenant_no = $1 AND epoch = $2 AND size = $3 AND $4::bigint > $3::bigint RETURNING epoch

-- name: add_checkpoint
INSERT INTO checkpoint (tenant_no, epoch, size, root, signed_at, note) VALUES ($1, $2, $3, $4, $5, $6)

-- name: drop_checkpoint
-- Unless it is the first of its hour.
DELETE FROM checkpoint c WHERE c.tenant_no = $1 AND c.epoch = $2 AND c.size = $3
   AND EXISTS (SELECT FROM checkpoint o WHERE o.tenant_no = $1 AND o.epoch = $2 AND o.size < $3
                  AND o.signed_at / $4::bigint = c.signed_at / $4::bigint)

-- name: checkpoints
SELECT epoch, size, root, signed_at, note FROM checkpoint
 WHERE tenant_no = $1 AND epoch = (SELECT max(epoch) FROM origin WHERE tenant_no = $1) AND size < $2
 ORDER BY size DESC LIMIT $3

-- name: last_checkpoint
SELECT epoch, size, root, signed_at, note FROM checkpoint WHERE tenant_no = $1 AND epoch = $2 ORDER BY size DESC LIMIT 1

-- name: leaves
-- In one value, since rows cost more.
SELECT coalesce(string_agg(leaf, ''::bytea ORDER BY position), ''::bytea) FROM event
 WHERE tenant_no = $1 AND position > $2 AND position <= $3

-- name: leaf_tiles
-- The leaves of the positions before the first one that is kept.
SELECT coalesce(string_agg(hashes, ''::bytea ORDER BY number), ''::bytea) FROM tile
 WHERE tenant_no = $1 AND level = 0 AND number BETWEEN $2 AND $3

-- name: tile
SELECT substr(hashes, 1, $4::int) FROM tile WHERE tenant_no = $1 AND level = $2 AND number = $3

-- name: last_tile
SELECT number, octet_length(hashes) FROM tile WHERE tenant_no = $1 AND level = $2 ORDER BY number DESC LIMIT 1

-- name: put_tile
-- One that is there may only grow.
INSERT INTO tile (tenant_no, level, number, hashes)
SELECT $1, * FROM unnest($2::int[], $3::bigint[], $4::bytea[])
ON CONFLICT (tenant_no, level, number) DO UPDATE SET hashes = excluded.hashes
 WHERE substr(excluded.hashes, 1, octet_length(tile.hashes)) = tile.hashes
RETURNING level

-- name: position_of
SELECT position FROM event WHERE tenant_no = $1 AND id = $2::text::uuid

-- name: signed
-- Not on SQLite, where a file beside the database has it; so too the next one. In a schema of its own, which no restore
-- of the schema `whence` brings back.
SELECT size, root FROM whence_signed.signed WHERE origin = $1

-- name: record_signed
INSERT INTO whence_signed.signed AS s (origin, size, root) VALUES ($1, $2, $3)
ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root
 WHERE s.size < excluded.size OR (s.size = excluded.size AND s.root = excluded.root)
RETURNING size

-- name: log_part
-- The statement limits the bytes here; on SQLite, the caller stops reading.
SELECT position, salt, payload_hash, leaf, envelope_version
  FROM (SELECT position, salt, payload_hash, leaf, envelope_version,
               coalesce(sum(octet_length(payload)) OVER (ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING
                                                                                    AND 1 PRECEDING), 0) AS bytes_before
          FROM event
         WHERE tenant_no = $1 AND position > $2 AND position <= $3) part
 WHERE bytes_before < $4
 ORDER BY position

-- name: hashes
SELECT position, salt, payload_hash, leaf, envelope_version FROM event WHERE tenant_no = $1 ORDER BY position

-- name: payload_fields
SELECT path, field, indexed_to FROM payload_field WHERE tenant_no = $1 ORDER BY path

-- name: payload_value
-- Several at once.
SELECT v.field, v.text, v.value, v.events
  FROM unnest($2::int[], $3::text[]) AS asked (field, text)
  JOIN payload_value v ON v.field = asked.field AND v.text = asked.text
 WHERE v.tenant_no = $1

-- name: counts_of_field
-- Of all events in the index.
SELECT text, events, failures FROM payload_value WHERE tenant_no = $1 AND field = $2 LIMIT $3

-- name: payload_values_named
SELECT text, events FROM payload_value WHERE tenant_no = $1 AND field = $2 AND text BETWEEN $3 AND $4
 ORDER BY text LIMIT $5

-- name: add_payload_field
INSERT INTO payload_field (tenant_no, field, path, indexed_to) VALUES ($1, $2, $3, 0) RETURNING field

-- name: move_payload_field
-- Several at once.
UPDATE payload_field SET indexed_to = $2 WHERE tenant_no = $1 AND field = ANY($3::int[])

-- name: delete_payload_field
DELETE FROM payload_field WHERE tenant_no = $1 AND field = $2

-- name: payload_part
-- The events after a position and up to another.
SELECT e.position, e.occurred_at, k.outcome = 'failure', e.payload
  FROM event e JOIN kind k ON k.kind = e.kind
 WHERE e.tenant_no = $1 AND k.tenant_no = $1 AND e.position > $2 AND e.position <= $3
 ORDER BY e.position

-- name: payloads_to_forget
SELECT e.position, e.occurred_at, k.outcome = 'failure', e.payload
  FROM event e JOIN kind k ON k.kind = e.kind
 WHERE e.tenant_no = $1 AND k.tenant_no = $1 AND e.position = ANY($2::bigint[])

-- name: last_payload_value
SELECT coalesce(max(value), 0) FROM payload_value WHERE tenant_no = $1

-- name: add_to_payload_value
INSERT INTO payload_value (tenant_no, value, field, text, events, failures)
SELECT $1, * FROM unnest($2::bigint[], $3::int[], $4::text[], $5::bigint[], $6::bigint[])
ON CONFLICT (tenant_no, field, text) DO UPDATE
   SET events = payload_value.events + excluded.events, failures = payload_value.failures + excluded.failures
RETURNING value, field, text

-- name: add_payload_entry
INSERT INTO payload_entry (tenant_no, value, occurred_at, position)
SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[])
RETURNING 1

-- name: any_payload_value
SELECT value FROM payload_value WHERE tenant_no = $1 AND field = $2 LIMIT 1

-- name: delete_payload_entries
DELETE FROM payload_entry
 WHERE tenant_no = $1 AND value = $2 AND (occurred_at, position) IN (
       SELECT occurred_at, position FROM payload_entry WHERE tenant_no = $1 AND value = $2 LIMIT $3)
RETURNING 1

-- name: delete_payload_entry
-- Several at once.
DELETE FROM payload_entry p
 USING unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS asked (value, occurred_at, position)
 WHERE p.tenant_no = $1 AND p.value = asked.value AND p.occurred_at = asked.occurred_at AND p.position = asked.position
RETURNING p.value, p.occurred_at, p.position

-- name: take_from_payload_value
-- Of several.
UPDATE payload_value v SET events = v.events - taken.events, failures = v.failures - taken.failures
  FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS taken (value, events, failures)
 WHERE v.tenant_no = $1 AND v.value = taken.value

-- name: delete_payload_value
-- Several at once, unless an event has them.
DELETE FROM payload_value v
 WHERE v.tenant_no = $1 AND v.value = ANY($2::bigint[])
   AND NOT EXISTS (SELECT FROM payload_entry p WHERE p.tenant_no = $1 AND p.value = v.value)

-- name: payload_entries
SELECT v.text, p.occurred_at, p.position
  FROM payload_value v JOIN payload_entry p ON p.value = v.value
 WHERE v.tenant_no = $1 AND p.tenant_no = $1 AND v.field = $2

-- name: wrong_payload_values
SELECT 1 FROM (
  SELECT value, events, failures FROM payload_value WHERE tenant_no = $1
  EXCEPT
  SELECT p.value, count(*), count(*) FILTER (WHERE k.outcome = 'failure')
    FROM payload_entry p JOIN event e ON e.position = p.position JOIN kind k ON k.kind = e.kind
   WHERE p.tenant_no = $1 AND e.tenant_no = $1 AND k.tenant_no = $1 GROUP BY p.value) AS wrong LIMIT 1

-- name: stray_payload_values
-- Values of no field, and entries of no value.
SELECT 1 FROM payload_value v
 WHERE v.tenant_no = $1 AND NOT EXISTS (SELECT FROM payload_field f WHERE f.tenant_no = $1 AND f.field = v.field)
 UNION ALL
SELECT 1 FROM payload_entry p
 WHERE p.tenant_no = $1 AND NOT EXISTS (SELECT FROM payload_value v WHERE v.tenant_no = $1 AND v.value = p.value)
 LIMIT 1

-- name: tenants
-- Without former logs, whose names begin with '/'; here and below.
SELECT tenant, tenant_no FROM tenant WHERE tenant NOT LIKE '/%' ORDER BY tenant

-- name: next_position
-- The next position after a gap, if any. Not on SQLite, which reads a log in one statement.
SELECT min(position) FROM event WHERE tenant_no = $1 AND position > $2

-- name: causes
-- The cause as it was sent, and the UUID that joins on it. Not on SQLite, where one column holds both.
SELECT position, causation_id, cause_id::text FROM event
 WHERE tenant_no = $1 AND position > $2 AND position <= $3 AND (causation_id IS NOT NULL OR cause_id IS NOT NULL)
 ORDER BY position

-- name: times
SELECT occurred_at, actor, kind FROM event WHERE tenant_no = $1

-- name: wrong_flows
SELECT 1 FROM (
  SELECT f.flow, f.events, f.failures, f.first_at, f.last_at FROM flow f WHERE f.tenant_no = $1
  EXCEPT
  SELECT e.flow, count(*), count(*) FILTER (WHERE k.outcome = 'failure'), min(e.occurred_at), max(e.occurred_at)
    FROM event e JOIN kind k ON k.tenant_no = e.tenant_no AND k.kind = e.kind
   WHERE e.tenant_no = $1 GROUP BY e.flow) wrong LIMIT 1

-- name: wrong_resources
SELECT 1 FROM (
  SELECT r.resource, r.events FROM resource r WHERE r.tenant_no = $1
  EXCEPT
  SELECT e.resource, count(*) FROM event e WHERE e.tenant_no = $1 GROUP BY e.resource) wrong
 UNION ALL  -- an event says the type by its kind, and is found by that of its resource
SELECT 1 FROM event e
  JOIN kind k ON k.tenant_no = $1 AND k.kind = e.kind
  JOIN resource r ON r.tenant_no = $1 AND r.resource = e.resource
 WHERE e.tenant_no = $1 AND r.resource_type <> k.resource_type
 LIMIT 1

-- name: wrong_names
-- The head holds the highest number that was given. If it were lower, the next number would be used twice. Names that no
-- event uses any more are gone once events were removed.
SELECT 1 FROM head h
 CROSS JOIN (SELECT (SELECT coalesce(max(kind), 0) FROM kind WHERE tenant_no = $1) AS kinds,
                    (SELECT count(*) FROM kind WHERE tenant_no = $1) AS kinds_left,
                    (SELECT coalesce(max(actor), 0) FROM actor WHERE tenant_no = $1) AS actors,
                    (SELECT coalesce(max(flow), 0) FROM flow WHERE tenant_no = $1) AS flows,
                    (SELECT coalesce(max(resource), 0) FROM resource WHERE tenant_no = $1) AS resources) found
 WHERE h.tenant_no = $1
   AND (h.kinds - h.kinds_removed <> found.kinds_left
        OR h.kinds < found.kinds OR h.actors < found.actors OR h.flows < found.flows OR h.resources < found.resources
        OR (h.retained_from = 1 AND (h.kinds, h.actors, h.flows, h.resources)
                                    <> (found.kinds, found.actors, found.flows, found.resources)))
 UNION ALL  -- an event says the type by its kind, and is found by that of its actor
SELECT 1 FROM rollup_actor u
  JOIN kind k ON k.tenant_no = $1 AND k.kind = u.kind
  JOIN actor a ON a.tenant_no = $1 AND a.actor = u.actor
 WHERE u.tenant_no = $1 AND u.level = 0 AND a.actor_type <> k.actor_type
 LIMIT 1

-- name: all_rollup_actor
SELECT bucket, actor, kind, events FROM rollup_actor WHERE tenant_no = $1 AND level = $2

-- name: all_rollup_kind
SELECT bucket, kind, events FROM rollup_kind WHERE tenant_no = $1 AND level = $2

-- name: all_buckets
SELECT bucket, events, divided FROM bucket WHERE tenant_no = $1 AND level = $2

-- name: all_actor_totals
SELECT bucket, counts FROM actor_total WHERE tenant_no = $1 AND level = $2

-- name: all_transitions
SELECT level, bucket, counts FROM transition WHERE tenant_no = $1

-- name: all_removed_transitions
SELECT level, bucket, counts FROM removed_transition WHERE tenant_no = $1

-- name: excess_leaves
SELECT 1 FROM tile WHERE tenant_no = $1 AND level = 0 AND number * 256 + length(hashes) / 32 > $2 LIMIT 1

-- name: upper_tiles
SELECT level, number, hashes FROM tile WHERE tenant_no = $1 AND level > 0

-- name: folded_transitions
-- Every event whose cause is stored, both up to a position: the times of both, and their kinds.
SELECT e.occurred_at, c.occurred_at, c.kind, e.kind
  FROM event e JOIN event c ON c.tenant_no = e.tenant_no AND c.id = e.cause_id
 WHERE e.tenant_no = $1 AND e.position <= $2 AND c.position <= $2

-- name: strays
-- Finds none for a login that is subject to row-level security.
SELECT 1 FROM whence.event WHERE tenant_no NOT IN (SELECT tenant_no FROM whence.tenant) LIMIT 1

-- The blocks below are not on SQLite. They are about the server, the schema and the rights of the login.

-- name: server
SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), current_setting('fsync'),
       current_setting('full_page_writes'), current_setting('synchronous_commit')

-- name: has_schema
-- Reads the catalogue, since the login may lack USAGE on the schema.
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'whence' AND c.relname = 'migration')

-- name: version
SELECT coalesce(max(number), 0) FROM whence.migration

-- name: set_role
SET LOCAL ROLE whence_app

-- name: role
-- Whether the role bypasses row-level security, whether the login may take it, whether it owns a table, and whether it has
-- the rights of whence_keeper. Since PostgreSQL 16 a member may lack the right to take a role.
SELECT r.rolsuper OR r.rolbypassrls,
       CASE WHEN current_setting('server_version_num')::int < 160000 THEN pg_has_role(session_user, r.oid, 'MEMBER')
            ELSE pg_has_role(session_user, r.oid, 'SET') END,
       EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'whence' AND pg_has_role(r.oid, c.relowner, 'MEMBER')),
       EXISTS (SELECT FROM pg_roles k WHERE k.rolname = 'whence_keeper' AND pg_has_role(r.oid, k.oid, 'MEMBER'))
  FROM pg_roles r WHERE r.rolname = $1

-- name: may_remove
-- Whether the login may take the role of a removal.
SELECT CASE WHEN current_setting('server_version_num')::int < 160000 THEN pg_has_role(session_user, oid, 'MEMBER')
            ELSE pg_has_role(session_user, oid, 'SET') END
  FROM pg_roles WHERE rolname = 'whence_keeper'

-- name: may_call
-- Whether the login may call the function without taking the role first. It may not if it does not inherit from the role.
SELECT has_schema_privilege('whence', 'USAGE')

-- name: lock_schema
-- So that two processes do not apply the same migration.
SELECT pg_advisory_xact_lock(5708721394)

-- The caller formats the name of a role into the two blocks below.

-- name: make_role
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        CREATE ROLE {role} NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- another session has just created it; roles are shared by all databases of a server
END
$$

-- name: grant_role
GRANT {role} TO CURRENT_USER

-- name: make_schema
CREATE SCHEMA IF NOT EXISTS whence;
CREATE TABLE IF NOT EXISTS whence.migration (
    number int         PRIMARY KEY,
    name   text        NOT NULL,
    taken  timestamptz NOT NULL DEFAULT now()
);
GRANT USAGE ON SCHEMA whence TO whence_app, whence_keeper;
GRANT SELECT ON whence.migration TO whence_app;
-- The last size and root that were signed for each origin, in a schema of its own: a restore of the schema `whence` does
-- not bring it back. Not under row-level security, since tenants may have other numbers then.
CREATE SCHEMA IF NOT EXISTS whence_signed;
CREATE TABLE IF NOT EXISTS whence_signed.signed (
    size   bigint NOT NULL,
    origin text   COLLATE "C" PRIMARY KEY,
    root   bytea  NOT NULL
);
GRANT USAGE ON SCHEMA whence_signed TO whence_app;
GRANT SELECT, INSERT, UPDATE ON whence_signed.signed TO whence_app;
-- The ledger of what was erased: the positions and leaves of events whose payloads are gone. With `new_id` it is the id
-- of the actor of the one event that was replaced by this, with `deleted_at` the whole tenant, by its first event.
CREATE TABLE IF NOT EXISTS whence_signed.erased (
    entry      bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    deleted_at bigint,
    tenant     text     COLLATE "C" NOT NULL,
    new_id     text,
    positions  bigint[] NOT NULL,
    leaves     bytea[]  NOT NULL
);
GRANT USAGE ON SCHEMA whence_signed TO whence_keeper;
GRANT SELECT ON whence_signed.erased TO whence_app;
GRANT SELECT, INSERT ON whence_signed.erased TO whence_keeper;

-- name: has_unseen
-- Whether the ledger has entries that the log has not seen. On a connection without a search path.
SELECT EXISTS (SELECT FROM whence_signed.erased l
                WHERE NOT EXISTS (SELECT FROM whence.erasure e WHERE e.entry = l.entry))

-- name: add_migration
INSERT INTO whence.migration (number, name) VALUES ($1, $2)
