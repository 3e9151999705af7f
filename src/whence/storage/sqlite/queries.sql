-- Named blocks. They have the names of their counterparts in postgres/queries.sql, where a comment says why the two
-- differ. A block ends where the next one begins. Values are bound as parameters and never formatted into the text.
-- Where the caller appends to a block, a comment says so.

-- name: store
SELECT store_id, commits, nonce FROM store

-- name: add_store
INSERT INTO store (one, store_id, commits, nonce) VALUES (1, ?, 0, ?)

-- name: advance_store
UPDATE store SET commits = commits + 1, nonce = ? RETURNING store_id, commits

-- name: head
SELECT tenant_no, size, recorded_at, compact_range, kinds, actors, flows, resources, folded_to, payload_bytes, measured_to,
       kinds_removed, removed_recorded_at, removal_epoch, retained_from, flows_removed
  FROM tenant WHERE tenant = ?

-- name: log_state
SELECT tenant_no, size, removal_epoch FROM tenant WHERE tenant = ?

-- name: key_of_id
SELECT key FROM event WHERE tenant_no = ? AND id = ?

-- name: tenant_no
SELECT tenant_no FROM tenant WHERE tenant = ?

-- name: add_tenant
INSERT INTO tenant (tenant) VALUES (?)

-- name: save_head
UPDATE tenant SET size = ?, recorded_at = ?, compact_range = ?, kinds = ?, actors = ?, flows = ?, resources = ?,
       folded_to = ?, payload_bytes = ?, measured_to = ?
 WHERE tenant_no = ?

-- name: retain_from
UPDATE tenant SET retained_from = max(retained_from, ?), recorded_at = max(recorded_at, ?),
       removed_recorded_at = max(removed_recorded_at, ?)
 WHERE tenant = ?

-- name: payload_bytes
-- Of the events after a position and up to another. SQLite finds the length without reading the payload.
SELECT coalesce(sum(length(payload)), 0) FROM event WHERE key > (?1 << 40 | ?2) AND key <= (?1 << 40 | ?3)

-- name: kind_number
SELECT kind FROM kind
 WHERE tenant_no = ? AND event_type = ? AND resource_type = ? AND actor_type = ? AND outcome = ?

-- name: add_kind
INSERT INTO kind (tenant_no, kind, event_type, resource_type, actor_type, outcome) VALUES (?, ?, ?, ?, ?, ?)

-- name: kinds
SELECT kind, event_type, resource_type, actor_type, outcome FROM kind WHERE tenant_no = ?

-- name: actor_number
SELECT key FROM actor WHERE tenant_no = ? AND actor_id = ? AND actor_type = ?

-- name: add_actor
INSERT INTO actor (key, tenant_no, actor_id, actor_type, erased_at) VALUES (?, ?, ?, ?, ?)

-- name: known_flows
SELECT correlation_id, key FROM flow WHERE tenant_no = ? AND correlation_id IN (SELECT value FROM carray(?))

-- name: add_to_flow
INSERT INTO flow (key, tenant_no, correlation_id, events, failures, first_at, last_at) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant_no, correlation_id) DO UPDATE
   SET events = events + excluded.events, failures = failures + excluded.failures,
       first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at)

-- name: known_resources
SELECT resource_id, resource_type, key FROM resource WHERE tenant_no = ? AND resource_id IN (SELECT value FROM carray(?))

-- name: add_to_resource
INSERT INTO resource (key, tenant_no, resource_id, resource_type, events) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET events = events + excluded.events

-- name: keys_of_ids
SELECT id, key FROM event WHERE tenant_no = ? AND id IN (SELECT value FROM carray(?))

-- name: correlation_of
SELECT f.correlation_id FROM event e CROSS JOIN flow f ON f.key = (e.tenant_no << 40 | e.flow)
 WHERE e.tenant_no = ? AND e.id = ?

-- name: add_event
-- The columns are those of EVENT_COLUMNS in rows.py. payload_hash is null until the payload is erased.
INSERT INTO event (key, tenant_no, id, occurred_at, recorded_at, kind, actor, flow, resource, cause, leaf, salt,
                   payload_hash, payload, envelope_version, erased_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: add_to_bucket
INSERT INTO bucket (tenant_no, level, bucket, events) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET events = events + excluded.events
RETURNING events, divided

-- name: add_to_rollup_kind
INSERT INTO rollup_kind (tenant_no, level, bucket, kind, events) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET events = events + excluded.events

-- name: add_to_rollup_actor
INSERT INTO rollup_actor (tenant_no, level, bucket, actor, kind, events) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET events = events + excluded.events

-- name: first_time
SELECT min(occurred_at) FROM event INDEXED BY event_time WHERE tenant_no = ?

-- name: divide_bucket
-- Counts the children from the raw events. The offset from the start of the first child is never negative, so that
-- SQL's division, which truncates, is a floor division.
INSERT INTO bucket (tenant_no, level, bucket, events)
SELECT :tenant_no, :level, :first + (occurred_at - :start) / :width, count(*)
  FROM event INDEXED BY event_time
 WHERE tenant_no = :tenant_no AND occurred_at >= :since AND occurred_at < :until
 GROUP BY 3
RETURNING bucket, events

-- name: divide_rollup_kind
INSERT INTO rollup_kind (tenant_no, level, bucket, kind, events)
SELECT :tenant_no, :level, :first + (occurred_at - :start) / :width, kind, count(*)
  FROM event INDEXED BY event_time
 WHERE tenant_no = :tenant_no AND occurred_at >= :since AND occurred_at < :until
 GROUP BY 3, 4

-- name: divide_rollup_actor
INSERT INTO rollup_actor (tenant_no, level, bucket, actor, kind, events)
SELECT :tenant_no, :level, :first + (occurred_at - :start) / :width, actor, kind, count(*)
  FROM event INDEXED BY event_time
 WHERE tenant_no = :tenant_no AND occurred_at >= :since AND occurred_at < :until
 GROUP BY 3, 4, 5

-- name: mark_divided
UPDATE bucket SET divided = 1 WHERE tenant_no = ? AND level = ? AND bucket = ?

-- name: bucket_known
-- How many events a bucket holds, and whether it is divided.
SELECT events, divided FROM bucket WHERE tenant_no = ? AND level = ? AND bucket = ?

-- name: is_divided
SELECT divided FROM bucket WHERE tenant_no = ? AND level = ? AND bucket = ?

-- name: full_event
-- The caller adds the condition: one id, one key, or the keys of a page.
SELECT e.key, e.id, k.event_type, k.actor_type, a.actor_id, k.resource_type, r.resource_id, f.correlation_id, e.cause,
       k.outcome, e.occurred_at, e.recorded_at, e.payload, e.erased_at,
       a.erased_at AS actor_erased_at
  FROM event e
 CROSS JOIN kind k ON k.tenant_no = e.tenant_no AND k.kind = e.kind
 CROSS JOIN actor a ON a.key = (e.tenant_no << 40 | e.actor)
 CROSS JOIN flow f ON f.key = (e.tenant_no << 40 | e.flow)
 CROSS JOIN resource r ON r.key = (e.tenant_no << 40 | e.resource)

-- name: feed_part
-- The caller adds conditions and the order. `key > ?2` bounds the rows that are read, whatever the conditions match.
SELECT key, coalesce(length(payload), 0) FROM event NOT INDEXED WHERE tenant_no = ?1 AND key > ?2 AND key <= ?3

-- name: recorded_at
SELECT recorded_at FROM event WHERE key = ?

-- name: ids_in_range
-- Two at most. The last value is the resource types that the viewer may see as a JSON array, null for all.
SELECT e.id
  FROM event e
 CROSS JOIN kind k ON k.tenant_no = e.tenant_no AND k.kind = e.kind
 WHERE e.tenant_no = (SELECT tenant_no FROM tenant WHERE tenant = ?1) AND e.id BETWEEN ?2 AND ?3
   AND (?4 IS NULL OR k.resource_type IN (SELECT value FROM json_each(?4)))
 ORDER BY e.id LIMIT 2

-- name: id_at
SELECT e.id
  FROM event e
 CROSS JOIN kind k ON k.tenant_no = e.tenant_no AND k.kind = e.kind
 WHERE e.key = (SELECT tenant_no << 40 | ?2 FROM tenant WHERE tenant = ?1)
   AND (?3 IS NULL OR k.resource_type IN (SELECT value FROM json_each(?3)))

-- name: actors_by_id
SELECT key & 0xFFFFFFFFFF, actor_type, actor_id FROM actor WHERE tenant_no = ? AND actor_id = ?

-- name: flow_by_correlation
SELECT key & 0xFFFFFFFFFF, correlation_id, events FROM flow WHERE tenant_no = ? AND correlation_id = ?

-- name: resources_by_id
SELECT key & 0xFFFFFFFFFF, resource_type, resource_id, events FROM resource WHERE tenant_no = ? AND resource_id = ?

-- name: actor_names
SELECT key & 0xFFFFFFFFFF, actor_type, actor_id FROM actor WHERE key IN (SELECT value FROM carray(?))

-- name: events_named
-- By id. ?5 are the resource types that the viewer may see as a JSON array, null for all, here and in resources_named.
SELECT e.id
  FROM event e
 CROSS JOIN kind k ON k.tenant_no = e.tenant_no AND k.kind = e.kind
 WHERE e.tenant_no = ?1 AND e.id BETWEEN ?2 AND ?3 AND ?4 IS NULL
   AND (?5 IS NULL OR k.resource_type IN (SELECT value FROM json_each(?5)))
 ORDER BY e.id LIMIT ?6

-- name: actors_named
-- With the events of the one bucket of level 0. ?5 are the kinds that the viewer may see, null for all; an actor that
-- has no event of them is left out.
SELECT actor_id, actor_type, events
  FROM (SELECT a.actor_id, a.actor_type,
               (SELECT sum(r.events) FROM rollup_actor r
                 WHERE r.tenant_no = ?1 AND r.level = 0 AND r.bucket = 0 AND r.actor = a.key & 0xFFFFFFFFFF
                   AND (?5 IS NULL OR r.kind IN (SELECT value FROM json_each(?5)))) AS events
          FROM actor a
         WHERE a.tenant_no = ?1 AND a.actor_id BETWEEN ?2 AND ?3 AND (?4 IS NULL OR a.actor_type = ?4))
 WHERE events > 0
 ORDER BY actor_id, actor_type LIMIT ?6

-- name: flows_named
-- The row of a flow counts all of its events, so those that a viewer may see are counted one by one.
SELECT correlation_id, events
  FROM (SELECT f.correlation_id,
               CASE WHEN ?5 IS NULL THEN f.events ELSE (
                    SELECT count(*) FROM event e INDEXED BY event_flow
                     WHERE e.tenant_no = ?1 AND e.flow = f.key & 0xFFFFFFFFFF
                       AND e.kind IN (SELECT value FROM json_each(?5))) END AS events
          FROM flow f
         WHERE f.tenant_no = ?1 AND f.correlation_id BETWEEN ?2 AND ?3 AND ?4 IS NULL)
 WHERE events > 0
 ORDER BY correlation_id LIMIT ?6

-- name: resources_named
SELECT resource_id, resource_type, events
  FROM resource
 WHERE tenant_no = ?1 AND resource_id BETWEEN ?2 AND ?3 AND (?4 IS NULL OR resource_type = ?4)
   AND (?5 IS NULL OR resource_type IN (SELECT value FROM json_each(?5)))
 ORDER BY resource_id, resource_type LIMIT ?6

-- name: span_total
SELECT coalesce(sum(events), 0) FROM bucket WHERE tenant_no = ? AND level = ? AND bucket BETWEEN ? AND ?

-- name: span_by_kind
SELECT kind, events FROM rollup_kind WHERE tenant_no = ? AND level = ? AND bucket BETWEEN ? AND ?

-- name: span_by_few_kinds
-- From bucket to bucket, as for actors.
SELECT r.kind, r.events
  FROM bucket b
 CROSS JOIN rollup_kind r
    ON r.tenant_no = b.tenant_no AND r.level = b.level AND r.bucket = b.bucket
   AND r.kind IN (SELECT value FROM json_each(?5))
 WHERE b.tenant_no = ?1 AND b.level = ?2 AND b.bucket BETWEEN ?3 AND ?4

-- name: span_by_kind_of_actors
-- From bucket to bucket, so that an actor takes one seek in each, however many other actors there are.
SELECT r.kind, r.events
  FROM bucket b
 CROSS JOIN rollup_actor r
    ON r.tenant_no = b.tenant_no AND r.level = b.level AND r.bucket = b.bucket
   AND r.actor IN (SELECT value FROM json_each(?5))
 WHERE b.tenant_no = ?1 AND b.level = ?2 AND b.bucket BETWEEN ?3 AND ?4

-- name: span_by_actor
-- One row for each bucket and actor, which the caller adds up: grouped in the order of the key, nothing is sorted.
SELECT actor, sum(events),
       coalesce(sum(events) FILTER (WHERE kind IN (SELECT value FROM json_each(?5))), 0),
       coalesce(sum(events) FILTER (WHERE kind IN (SELECT value FROM json_each(?6))), 0)
  FROM rollup_actor
 WHERE tenant_no = ?1 AND level = ?2 AND bucket BETWEEN ?3 AND ?4
   AND kind IN (SELECT value FROM json_each(?7))
 GROUP BY bucket, actor

-- name: span_by_actor_undivided
-- The buckets without packed totals, by the number of the kind, since the caller knows the kinds.
SELECT r.actor, r.kind, r.events
  FROM bucket b
 CROSS JOIN rollup_actor r ON r.tenant_no = b.tenant_no AND r.level = b.level AND r.bucket = b.bucket
 WHERE b.tenant_no = ? AND b.level = ? AND b.bucket BETWEEN ? AND ? AND b.divided = 0

-- name: span_of_actor_totals
-- The buckets with packed totals. A bucket has no row of them before the first fold, and then counts is null.
SELECT b.bucket, t.counts
  FROM bucket b
  LEFT JOIN actor_total t ON t.tenant_no = b.tenant_no AND t.level = b.level AND t.bucket = b.bucket
 WHERE b.tenant_no = ? AND b.level = ? AND b.bucket BETWEEN ? AND ? AND b.divided = 1

-- name: span_by_actor_of_actors
SELECT r.actor, r.kind, r.events
  FROM bucket b
 CROSS JOIN rollup_actor r
    ON r.tenant_no = b.tenant_no AND r.level = b.level AND r.bucket = b.bucket
   AND r.actor IN (SELECT value FROM json_each(?5))
 WHERE b.tenant_no = ?1 AND b.level = ?2 AND b.bucket BETWEEN ?3 AND ?4

-- name: edge_total
SELECT count(*) FROM event INDEXED BY event_time WHERE tenant_no = ? AND occurred_at >= ? AND occurred_at < ?

-- name: edge_of_kind
SELECT count(*) FROM event INDEXED BY event_kind
 WHERE kind = ? AND tenant_no = ? AND occurred_at >= ? AND occurred_at < ?

-- name: edge
SELECT kind, actor FROM event INDEXED BY event_time WHERE tenant_no = ? AND occurred_at >= ? AND occurred_at < ?

-- name: time_bounds
-- When the first and the last event occurred.
SELECT (SELECT occurred_at FROM event INDEXED BY event_time WHERE tenant_no = ?1 ORDER BY occurred_at LIMIT 1),
       (SELECT occurred_at FROM event INDEXED BY event_time WHERE tenant_no = ?1 ORDER BY occurred_at DESC LIMIT 1)

-- name: time_bounds_of_kinds
-- The same of some kinds, with two seeks for each.
SELECT min((SELECT occurred_at FROM event INDEXED BY event_kind WHERE tenant_no = ?1 AND kind = json_each.value
             ORDER BY occurred_at LIMIT 1)),
       max((SELECT occurred_at FROM event INDEXED BY event_kind WHERE tenant_no = ?1 AND kind = json_each.value
             ORDER BY occurred_at DESC LIMIT 1))
  FROM json_each(?2)

-- name: known_buckets
SELECT bucket, divided FROM bucket WHERE tenant_no = ? AND level = ? AND bucket BETWEEN ? AND ? ORDER BY bucket

-- name: grid_span
-- Kinds that do not match may be among them, here and in the edge.
SELECT bucket, kind, events FROM rollup_kind WHERE tenant_no = ? AND level = ? AND bucket BETWEEN ? AND ?

-- name: grid_span_of_kinds
-- From bucket to bucket, as for actors.
SELECT r.bucket, r.kind, r.events
  FROM bucket b
 CROSS JOIN rollup_kind r
    ON r.tenant_no = b.tenant_no AND r.level = b.level AND r.bucket = b.bucket
   AND r.kind IN (SELECT value FROM json_each(?5))
 WHERE b.tenant_no = ?1 AND b.level = ?2 AND b.bucket BETWEEN ?3 AND ?4

-- name: grid_span_of_actors
SELECT r.bucket, r.kind, r.events
  FROM bucket b
 CROSS JOIN rollup_actor r
    ON r.tenant_no = b.tenant_no AND r.level = b.level AND r.bucket = b.bucket
   AND r.actor IN (SELECT value FROM json_each(?5))
 WHERE b.tenant_no = ?1 AND b.level = ?2 AND b.bucket BETWEEN ?3 AND ?4

-- name: grid_edge
-- For one bucket of the grid, which takes half the time of grouping by buckets as well. The sort is of one edge.
SELECT kind, count(*) FROM event INDEXED BY event_time
 WHERE tenant_no = ?1 AND occurred_at >= ?2 AND occurred_at < ?3
   AND (?4 IS NULL OR actor IN (SELECT value FROM json_each(?4)))
 GROUP BY kind

-- name: edge_of_actors
SELECT kind, actor FROM event INDEXED BY event_time
 WHERE tenant_no = ?1 AND occurred_at >= ?2 AND occurred_at < ?3
   AND actor IN (SELECT value FROM json_each(?4)) AND (?5 IS NULL OR kind IN (SELECT value FROM json_each(?5)))

-- name: times_of_actors
-- When the first and the last event of each actor occurred.
SELECT json_each.value,
       (SELECT occurred_at FROM event INDEXED BY event_actor WHERE tenant_no = ?1 AND actor = json_each.value
         ORDER BY occurred_at LIMIT 1),
       (SELECT occurred_at FROM event INDEXED BY event_actor WHERE tenant_no = ?1 AND actor = json_each.value
         ORDER BY occurred_at DESC LIMIT 1)
  FROM json_each(?2)

-- name: buckets_with_actor
-- The first and the last bucket of a span in which an actor has events of some kinds. From bucket to bucket.
SELECT min(b.bucket), max(b.bucket)
  FROM bucket b
 CROSS JOIN rollup_actor r
    ON r.tenant_no = b.tenant_no AND r.level = b.level AND r.bucket = b.bucket AND r.actor = ?5
   AND r.kind IN (SELECT value FROM json_each(?6))
 WHERE b.tenant_no = ?1 AND b.level = ?2 AND b.bucket BETWEEN ?3 AND ?4

-- name: causes_of_actor
-- The last events of an actor in a period: whether each names a cause, and the actor of that cause.
SELECT occurred_at, key, cause IS NOT NULL,
       (SELECT c.actor FROM event c INDEXED BY event_id WHERE c.tenant_no = ?1 AND c.id = event.cause)
  FROM event INDEXED BY event_actor
 WHERE tenant_no = ?1 AND actor = ?2 AND occurred_at >= ?3 AND occurred_at < ?4
 ORDER BY occurred_at DESC, key DESC LIMIT ?5

-- name: events_of_actors
-- The caller adds the order, and reads no further than it needs.
SELECT actor, kind, occurred_at, key FROM event INDEXED BY event_time
 WHERE tenant_no = ?1 AND occurred_at >= ?2 AND occurred_at < ?3 AND actor IN (SELECT value FROM json_each(?4))

-- name: ids_of_keys
SELECT key, id FROM event WHERE key IN (SELECT value FROM json_each(?))

-- name: buckets
-- The caller adds the direction to the three walks.
SELECT bucket, events FROM bucket WHERE tenant_no = ?1 AND level = ?2 AND bucket BETWEEN ?3 AND ?4
 ORDER BY bucket

-- name: buckets_of_kinds
SELECT bucket, sum(events) FROM rollup_kind
 WHERE tenant_no = ?1 AND level = ?2 AND bucket BETWEEN ?3 AND ?4 AND kind IN (SELECT value FROM json_each(?5))
 GROUP BY bucket ORDER BY bucket

-- name: buckets_of_actors
SELECT b.bucket, sum(r.events)
  FROM bucket b
 CROSS JOIN rollup_actor r
    ON r.tenant_no = b.tenant_no AND r.level = b.level AND r.bucket = b.bucket
   AND r.actor IN (SELECT value FROM json_each(?5))
 WHERE b.tenant_no = ?1 AND b.level = ?2 AND b.bucket BETWEEN ?3 AND ?4
   AND (?6 IS NULL OR r.kind IN (SELECT value FROM json_each(?6)))
 GROUP BY b.bucket ORDER BY b.bucket

-- name: graph_events
-- The fields of an event that a graph uses. The caller adds the condition.
SELECT e.key, e.id, e.cause, e.occurred_at, e.kind, f.correlation_id, a.actor_id, r.resource_id
  FROM event e
 CROSS JOIN flow f ON f.key = (e.tenant_no << 40 | e.flow)
 CROSS JOIN actor a ON a.key = (e.tenant_no << 40 | e.actor)
 CROSS JOIN resource r ON r.key = (e.tenant_no << 40 | e.resource)

-- name: payload_sizes
-- The last value is the kinds that the viewer may see as a JSON array, null for all.
SELECT key, coalesce(length(payload), 0) FROM event
 WHERE key IN (SELECT value FROM carray(?1)) AND (?2 IS NULL OR +kind IN (SELECT value FROM json_each(?2)))

-- name: payloads
SELECT key, payload FROM event WHERE key IN (SELECT value FROM carray(?1))

-- name: keys_by_flow
SELECT key FROM event INDEXED BY event_flow
 WHERE tenant_no = ?1
   AND flow IN (SELECT key & 0xFFFFFFFFFF FROM flow
                 WHERE tenant_no = ?1 AND correlation_id IN (SELECT value FROM carray(?2)))
   AND (?3 IS NULL OR kind IN (SELECT value FROM json_each(?3)))
 LIMIT ?4

-- name: keys_by_cause
-- The effects of some causes, in any order; all of them when there are fewer than the limit.
SELECT key FROM event INDEXED BY event_cause
 WHERE tenant_no = ?1 AND cause IN (SELECT value FROM carray(?2))
   AND (?3 IS NULL OR kind IN (SELECT value FROM json_each(?3)))
 LIMIT ?4

-- name: keys_by_cause_in_order
-- The effects of one cause by time.
SELECT occurred_at, key FROM event INDEXED BY event_cause
 WHERE tenant_no = ?1 AND cause = ?2 AND (?3 IS NULL OR kind IN (SELECT value FROM json_each(?3)))
 ORDER BY occurred_at, key

-- name: causes_above
-- An event and its causes: at most ?4 of them, in any order.
WITH RECURSIVE above (key, cause, hop) AS (
    SELECT key, cause, 1 FROM event INDEXED BY event_id
     WHERE tenant_no = ?1 AND id = ?2 AND (?3 IS NULL OR kind IN (SELECT value FROM json_each(?3)))
     UNION ALL
    SELECT e.key, e.cause, above.hop + 1
      FROM above
     CROSS JOIN event e INDEXED BY event_id ON e.tenant_no = ?1 AND e.id = above.cause
     WHERE above.hop < ?4 AND (?3 IS NULL OR e.kind IN (SELECT value FROM json_each(?3))))
SELECT key FROM above

-- name: effects_below
-- What some causes led to within ?4 hops: each event with its distance, at most ?5 of them. Events of a cycle repeat.
WITH RECURSIVE below (key, id, hop) AS (
    SELECT key, id, 1 FROM event INDEXED BY event_cause
     WHERE tenant_no = ?1 AND cause IN (SELECT value FROM carray(?2))
       AND (?3 IS NULL OR kind IN (SELECT value FROM json_each(?3)))
     UNION ALL
    SELECT e.key, e.id, below.hop + 1
      FROM below
     CROSS JOIN event e INDEXED BY event_cause ON e.tenant_no = ?1 AND e.cause = below.id
     WHERE below.hop < ?4 AND (?3 IS NULL OR e.kind IN (SELECT value FROM json_each(?3)))
     LIMIT ?5)
SELECT key, hop FROM below

-- name: flows_seen
-- The flows of a viewer who may see these kinds only. It precedes the statements on flows, as a WITH clause.
WITH seen (key, events, failures, first_at, last_at) AS (
  SELECT tenant_no << 40 | flow, count(*), sum(kind IN (SELECT value FROM json_each(:failing))), min(occurred_at),
         max(occurred_at)
    FROM event WHERE tenant_no = :tenant_no AND kind IN (SELECT value FROM json_each(:kinds)) GROUP BY flow)

-- name: flow_events
-- The first events of a flow by time.
SELECT key, id, cause, actor FROM event INDEXED BY event_flow
 WHERE tenant_no = ?1 AND flow = ?2 AND (?3 IS NULL OR kind IN (SELECT value FROM json_each(?3)))
 ORDER BY occurred_at, key LIMIT ?4

-- name: times_of_ids
SELECT id, occurred_at, kind FROM event WHERE tenant_no = ? AND id IN (SELECT value FROM carray(?))

-- name: unfolded_causes
SELECT id, cause, occurred_at, kind FROM event WHERE key > ? AND key < ?

-- name: earlier_effects
-- Events up to a key that name causes stored after it.
SELECT cause, occurred_at, kind FROM event INDEXED BY event_cause
 WHERE tenant_no = ? AND cause IN (SELECT value FROM carray(?)) AND key <= ?

-- name: transition_sizes
-- The rows of one bucket, newest first.
SELECT up_to, length(counts) FROM transition WHERE tenant_no = ? AND level = ? AND bucket = ? ORDER BY up_to DESC

-- name: take_transitions
-- Removes the newest rows of one bucket, from a position on, and returns their counts.
DELETE FROM transition WHERE tenant_no = ? AND level = ? AND bucket = ? AND up_to >= ? RETURNING counts

-- name: add_transitions
INSERT INTO transition (tenant_no, level, bucket, up_to, counts) VALUES (?, ?, ?, ?, ?)

-- name: unfolded_events
SELECT occurred_at, kind, actor FROM event WHERE key > (?1 << 40 | ?2) AND key < (?1 + 1) << 40

-- name: first_actor_totals
-- The events up to the last fold of a bucket that was just divided.
SELECT actor, kind, count(*) FROM event INDEXED BY event_time
 WHERE tenant_no = ? AND occurred_at >= ? AND occurred_at < ? AND key <= ?
 GROUP BY actor, kind

-- name: actor_total_sizes
-- The rows of one bucket, newest first.
SELECT up_to, length(counts) FROM actor_total WHERE tenant_no = ? AND level = ? AND bucket = ? ORDER BY up_to DESC

-- name: actor_totals_of
-- All rows of one bucket.
SELECT counts FROM actor_total WHERE tenant_no = ? AND level = ? AND bucket = ?

-- name: take_actor_totals
-- Removes the newest rows of one bucket, from a position on, and returns their counts.
DELETE FROM actor_total WHERE tenant_no = ? AND level = ? AND bucket = ? AND up_to >= ? RETURNING counts

-- name: add_actor_totals
INSERT INTO actor_total (tenant_no, level, bucket, up_to, counts) VALUES (?, ?, ?, ?, ?)

-- name: hold_versions
SELECT id, version FROM definition WHERE kind = ? AND tenant = ?

-- name: payloads_to_erase
SELECT kind, salt, payload, leaf FROM event WHERE key = ? AND payload IS NOT NULL

-- name: erase_payload
UPDATE event SET payload_hash = ?2, payload = NULL, salt = NULL, erased_at = ?3 WHERE key = ?1

-- name: erase_actor
UPDATE actor SET actor_id = ?, erased_at = ? WHERE key = ?

-- name: events_of_actor
SELECT coalesce(sum(events), 0) FROM rollup_actor WHERE tenant_no = ? AND level = 0 AND bucket = 0 AND actor = ?

-- name: event_of_actor
-- The earliest one that was recorded: an older backup has it, if it has any of them.
SELECT key, leaf FROM event WHERE tenant_no = ? AND actor = ? ORDER BY key LIMIT 1

-- name: later_event_of_actor
-- By position, since the actor may have very many earlier ones.
SELECT EXISTS (SELECT 1 FROM event WHERE key > ?3 AND key < ?4 AND +tenant_no = ?1 AND +actor = ?2)

-- name: save_erasure
UPDATE tenant SET payload_bytes = ?2, measured_to = ?3, removal_epoch = removal_epoch + 1 WHERE tenant_no = ?1

-- name: definition_kinds
SELECT DISTINCT kind FROM definition WHERE tenant = ?

-- name: first_leaf
-- The leaf of the first position: from its event, else from the tile that has it.
SELECT coalesce((SELECT leaf FROM event WHERE key = (?1 << 40 | 1)),
                (SELECT substr(hashes, 1, 32) FROM tile WHERE tenant_no = ?1 AND level = 0 AND number = 0))

-- name: has_anything
-- Whether a tenant has keys, sessions or definitions. It may have them without events.
SELECT EXISTS (SELECT 1 FROM api_key WHERE tenant = ?1) OR EXISTS (SELECT 1 FROM session WHERE tenant = ?1)
    OR EXISTS (SELECT 1 FROM definition WHERE tenant = ?1)

-- name: delete_sessions_of_tenant
DELETE FROM session
 WHERE tenant = ?1 OR (tenant IS NULL AND key_id IN (SELECT id FROM api_key WHERE tenant = ?1))

-- name: newest_key
-- When the last key of a tenant was made.
SELECT coalesce(max(created_at), 0) FROM api_key WHERE tenant = ?

-- name: delete_keys
-- Of a former tenant, and not those that were made after it was deleted.
DELETE FROM api_key WHERE tenant = ? AND created_at <= ?

-- name: delete_definitions
DELETE FROM definition WHERE tenant = ?

-- name: rename_tenant
UPDATE tenant SET tenant = ?2 WHERE tenant_no = ?1

-- name: last_epoch
SELECT coalesce(max(epoch), 0) FROM origin WHERE tenant_no = ?

-- name: add_former_log
INSERT INTO former_log (number, tenant, epoch, size, root, deleted_at, removed) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: former_logs
-- Those of a tenant, or without one those of which rows are left.
SELECT number, tenant, epoch, size, root, deleted_at, removed FROM former_log
 WHERE CASE WHEN ?1 IS NULL THEN removed = 0 ELSE tenant = ?1 END ORDER BY number

-- name: was_deleted
-- Whether a tenant was deleted at a time.
SELECT EXISTS (SELECT 1 FROM former_log WHERE tenant = ? AND deleted_at = ?)

-- name: has_payload
-- Whether the payload of an event is there, which is known by the beginning of its leaf. So is the next one.
SELECT EXISTS (SELECT 1 FROM event WHERE key = ?1 AND substr(leaf, 1, length(?2)) = ?2 AND payload IS NOT NULL)

-- name: has_another_actor
-- Whether the actor of an event has another id.
SELECT EXISTS (SELECT 1 FROM event AS e JOIN actor AS a ON a.key = e.tenant_no << 40 | e.actor
                WHERE e.key = ?1 AND substr(e.leaf, 1, length(?2)) = ?2 AND a.actor_id <> ?3)

-- name: former_log_removed
UPDATE former_log SET removed = 1 WHERE number = ?

-- The blocks up to `remove_origin` each remove a part of the rows of a former log.

-- name: remove_payload_entry
DELETE FROM payload_entry
 WHERE (value, occurred_at, key) IN (SELECT value, occurred_at, key FROM payload_entry
                                      WHERE value > ?1 << 40 AND value < (?1 + 1) << 40 LIMIT ?2)

-- name: remove_payload_value
DELETE FROM payload_value WHERE rowid IN (SELECT rowid FROM payload_value WHERE key > ?1 << 40 AND key < (?1 + 1) << 40 LIMIT ?2)

-- name: remove_payload_field
DELETE FROM payload_field WHERE (tenant_no, field) IN (SELECT tenant_no, field FROM payload_field WHERE tenant_no = ?1 LIMIT ?2)

-- name: remove_event
DELETE FROM event WHERE rowid IN (SELECT rowid FROM event WHERE key > ?1 << 40 AND key < (?1 + 1) << 40 LIMIT ?2)

-- name: remove_flow
DELETE FROM flow WHERE rowid IN (SELECT rowid FROM flow WHERE key > ?1 << 40 AND key < (?1 + 1) << 40 LIMIT ?2)

-- name: remove_resource
DELETE FROM resource WHERE rowid IN (SELECT rowid FROM resource WHERE key > ?1 << 40 AND key < (?1 + 1) << 40 LIMIT ?2)

-- name: remove_actor
DELETE FROM actor WHERE rowid IN (SELECT rowid FROM actor WHERE key > ?1 << 40 AND key < (?1 + 1) << 40 LIMIT ?2)

-- name: remove_kind
DELETE FROM kind WHERE (tenant_no, kind) IN (SELECT tenant_no, kind FROM kind WHERE tenant_no = ?1 LIMIT ?2)

-- name: remove_bucket
DELETE FROM bucket WHERE (tenant_no, level, bucket) IN (SELECT tenant_no, level, bucket FROM bucket WHERE tenant_no = ?1 LIMIT ?2)

-- name: remove_rollup_kind
DELETE FROM rollup_kind WHERE (tenant_no, level, bucket, kind) IN (SELECT tenant_no, level, bucket, kind FROM rollup_kind WHERE tenant_no = ?1 LIMIT ?2)

-- name: remove_rollup_actor
DELETE FROM rollup_actor WHERE (tenant_no, level, bucket, actor, kind) IN (SELECT tenant_no, level, bucket, actor, kind FROM rollup_actor WHERE tenant_no = ?1 LIMIT ?2)

-- name: remove_transition
DELETE FROM transition WHERE rowid IN (SELECT rowid FROM transition WHERE tenant_no = ?1 LIMIT ?2)

-- name: remove_removed_transition
DELETE FROM removed_transition WHERE rowid IN (SELECT rowid FROM removed_transition WHERE tenant_no = ?1 LIMIT ?2)

-- name: remove_actor_total
DELETE FROM actor_total WHERE rowid IN (SELECT rowid FROM actor_total WHERE tenant_no = ?1 LIMIT ?2)

-- name: remove_delivery
DELETE FROM delivery WHERE (tenant_no, webhook_id, position) IN (SELECT tenant_no, webhook_id, position FROM delivery WHERE tenant_no = ?1 LIMIT ?2)

-- name: remove_attempt
DELETE FROM attempt WHERE rowid IN (SELECT rowid FROM attempt WHERE tenant_no = ?1 LIMIT ?2)

-- name: remove_follower
DELETE FROM follower WHERE rowid IN (SELECT rowid FROM follower WHERE tenant_no = ?1 LIMIT ?2)

-- name: remove_checkpoint
DELETE FROM checkpoint WHERE rowid IN (SELECT rowid FROM checkpoint WHERE tenant_no = ?1 LIMIT ?2)

-- name: remove_tile
DELETE FROM tile WHERE rowid IN (SELECT rowid FROM tile WHERE tenant_no = ?1 LIMIT ?2)

-- name: remove_origin
DELETE FROM origin WHERE (tenant_no, epoch) IN (SELECT tenant_no, epoch FROM origin WHERE tenant_no = ?1 LIMIT ?2)

-- name: webhooks_with_deliveries
-- One seek for each webhook.
WITH RECURSIVE found (webhook_id) AS (
    SELECT (SELECT min(webhook_id) FROM delivery WHERE tenant_no = ?1)
     UNION ALL
    SELECT (SELECT min(d.webhook_id) FROM delivery d WHERE d.tenant_no = ?1 AND d.webhook_id > found.webhook_id)
      FROM found WHERE found.webhook_id IS NOT NULL)
SELECT webhook_id FROM found WHERE webhook_id IS NOT NULL

-- name: erase_answers
UPDATE attempt SET answer = x'' WHERE tenant_no = ? AND webhook_id = ? AND position = ?

-- name: erase_answers_of_actor
UPDATE attempt SET answer = x''
 WHERE tenant_no = ?1 AND answer <> x''
   AND EXISTS (SELECT 1 FROM event e WHERE e.key = (?1 << 40 | attempt.position) AND e.actor = ?2)

-- name: purge_rows
-- The columns are those of PurgeRow. A cause that is a text names no event.
SELECT key & 0xFFFFFFFFFF AS position, id, occurred_at, recorded_at, kind, actor, flow, resource,
       CASE typeof(cause) WHEN 'blob' THEN cause END AS cause, coalesce(length(payload), 0) AS payload_bytes
  FROM event WHERE key >= ? AND key < ? ORDER BY key

-- name: folded_causes
SELECT id, occurred_at, kind FROM event WHERE tenant_no = ? AND id IN (SELECT value FROM carray(?)) AND key <= ?

-- name: folded_effects
SELECT cause, occurred_at, kind, key & 0xFFFFFFFFFF FROM event INDEXED BY event_cause
 WHERE tenant_no = ? AND cause IN (SELECT value FROM carray(?)) AND key <= ?

-- name: has_events_between
SELECT EXISTS (SELECT 1 FROM event INDEXED BY event_time WHERE tenant_no = ? AND occurred_at >= ? AND occurred_at < ?)

-- name: removed_transition_sizes
-- The rows of one bucket, newest first.
SELECT up_to, length(counts) FROM removed_transition WHERE tenant_no = ? AND level = ? AND bucket = ? ORDER BY up_to DESC

-- name: removed_transitions_since
-- What take_removed_transitions removes. Not on PostgreSQL, where that is done before the row lock.
SELECT counts FROM removed_transition WHERE tenant_no = ? AND level = ? AND bucket = ? AND up_to >= ?

-- name: take_removed_transitions
-- As take_transitions.
DELETE FROM removed_transition WHERE tenant_no = ? AND level = ? AND bucket = ? AND up_to >= ? RETURNING counts

-- name: add_removed_transitions
INSERT INTO removed_transition (tenant_no, level, bucket, up_to, counts) VALUES (?, ?, ?, ?, ?)

-- name: delete_transitions
DELETE FROM transition WHERE tenant_no = ? AND level = ? AND bucket = ?

-- name: delete_removed_transitions
DELETE FROM removed_transition WHERE tenant_no = ? AND level = ? AND bucket = ?

-- name: delete_event
DELETE FROM event WHERE key = ?

-- name: take_from_bucket
UPDATE bucket SET events = events - ?4 WHERE tenant_no = ?1 AND level = ?2 AND bucket = ?3 RETURNING events, divided

-- name: delete_bucket
DELETE FROM bucket WHERE tenant_no = ? AND level = ? AND bucket = ?

-- name: delete_rollup_kind
DELETE FROM rollup_kind WHERE tenant_no = ? AND level = ? AND bucket = ?

-- name: delete_rollup_actor
DELETE FROM rollup_actor WHERE tenant_no = ? AND level = ? AND bucket = ?

-- name: delete_actor_totals
DELETE FROM actor_total WHERE tenant_no = ? AND level = ? AND bucket = ?

-- name: take_from_rollup_kind
UPDATE rollup_kind SET events = events - ?5 WHERE tenant_no = ?1 AND level = ?2 AND bucket = ?3 AND kind = ?4

-- name: drop_from_rollup_kind
DELETE FROM rollup_kind WHERE tenant_no = ?1 AND level = ?2 AND bucket = ?3 AND kind = ?4 AND events = ?5

-- name: take_from_rollup_actor
UPDATE rollup_actor SET events = events - ?6
 WHERE tenant_no = ?1 AND level = ?2 AND bucket = ?3 AND actor = ?4 AND kind = ?5

-- name: drop_from_rollup_actor
DELETE FROM rollup_actor WHERE tenant_no = ?1 AND level = ?2 AND bucket = ?3 AND actor = ?4 AND kind = ?5 AND events = ?6

-- name: drop_flow
-- If these are all of its events.
DELETE FROM flow WHERE key = ? AND events = ?

-- name: take_from_flow
-- After the events are gone.
UPDATE flow
   SET events = events - ?3, failures = failures - ?4,
       first_at = (SELECT min(occurred_at) FROM event INDEXED BY event_flow WHERE tenant_no = ?1 AND flow = ?2),
       last_at = (SELECT max(occurred_at) FROM event INDEXED BY event_flow WHERE tenant_no = ?1 AND flow = ?2)
 WHERE key = ?1 << 40 | ?2

-- name: drop_resource
DELETE FROM resource WHERE key = ? AND events = ?

-- name: take_from_resource
UPDATE resource SET events = events - ?2 WHERE key = ?1

-- name: drop_unused_kind
-- The one bucket of level 0 has a row for each kind that an event has. Here and below, the names are returned.
DELETE FROM kind
 WHERE tenant_no = ?1 AND kind IN (SELECT value FROM carray(?2))
   AND NOT EXISTS (SELECT 1 FROM rollup_kind r
                    WHERE r.tenant_no = ?1 AND r.level = 0 AND r.bucket = 0 AND r.kind = kind.kind)
RETURNING event_type, resource_type, actor_type, outcome

-- name: drop_unused_actor
DELETE FROM actor
 WHERE key IN (SELECT ?1 << 40 | value FROM carray(?2))
   AND NOT EXISTS (SELECT 1 FROM rollup_actor r
                    WHERE r.tenant_no = ?1 AND r.level = 0 AND r.bucket = 0 AND r.actor = actor.key & 0xFFFFFFFFFF)
RETURNING actor_id, actor_type

-- name: save_purge
UPDATE tenant
   SET payload_bytes = ?2, measured_to = ?3, folded_to = ?4, kinds_removed = kinds_removed + ?5,
       flows_removed = flows_removed + ?6, removed_recorded_at = max(removed_recorded_at, ?7),
       retained_from = max(retained_from, ?8), removal_epoch = removal_epoch + 1
 WHERE tenant_no = ?1

-- name: span_of_transitions
SELECT counts FROM transition WHERE tenant_no = ? AND level = ? AND bucket BETWEEN ? AND ?

-- name: span_of_removed_transitions
SELECT counts FROM removed_transition WHERE tenant_no = ? AND level = ? AND bucket BETWEEN ? AND ?

-- name: add_key
INSERT INTO api_key (id, hash, tenant, name, scopes, created_at, expires_at, revoked_at, last_used_at, ceiling)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: count_keys
-- Those that are neither revoked nor expired, and all.
SELECT (SELECT count(*) FROM api_key WHERE tenant = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)),
       (SELECT count(*) FROM api_key WHERE tenant = ?1)

-- name: key
-- The caller adds the condition.
SELECT id, hash, tenant, name, scopes, created_at, expires_at, revoked_at, last_used_at, ceiling FROM api_key

-- name: keys_after
-- The part of a tenant's keys that follows a place in its list. A negative limit is none.
SELECT id, hash, tenant, name, scopes, created_at, expires_at, revoked_at, last_used_at, ceiling FROM api_key
 WHERE tenant = ? AND (created_at, id) > (?, ?)
 ORDER BY created_at, id LIMIT ?

-- name: revoke_key
UPDATE api_key SET revoked_at = coalesce(revoked_at, ?) WHERE tenant = ? AND id = ?

-- name: touch_key
UPDATE api_key SET last_used_at = max(coalesce(last_used_at, 0), ?) WHERE id = ?

-- name: add_session
INSERT INTO session (hash, key_id, expires_at, tenant, scopes) VALUES (?, ?, ?, ?, ?)

-- name: count_sessions
-- The sessions of a key in one tenant, and when the first of them ends.
SELECT count(*), min(expires_at) FROM session WHERE key_id = ? AND tenant IS ? AND expires_at > ?

-- name: delete_expired_sessions
DELETE FROM session WHERE expires_at <= ?

-- name: find_session
SELECT hash, key_id, expires_at, tenant, scopes FROM session WHERE hash = ?

-- name: end_session
DELETE FROM session WHERE hash = ?

-- name: take_session
DELETE FROM session WHERE hash = ? RETURNING hash, key_id, expires_at, tenant, scopes

-- name: end_sessions_of_key
DELETE FROM session WHERE key_id = ?

-- name: delete_all_sessions
DELETE FROM session

-- name: carry_over_revocations
UPDATE api_key AS k SET revoked_at = r.revoked_at
  FROM replaced.api_key AS r
 WHERE r.id = k.id AND r.hash = k.hash AND r.revoked_at IS NOT NULL AND k.revoked_at IS NULL

-- name: carry_over_holds
-- And the policy of retention, which may be a shorter one in the backup.
INSERT INTO definition (kind, tenant, id, version, body)
SELECT kind, tenant, id, version, body FROM replaced.definition WHERE kind IN ('hold', 'retention')
    ON CONFLICT (kind, tenant, id) DO UPDATE SET version = excluded.version, body = excluded.body

-- name: count_definitions
-- The others of a kind.
SELECT count(*) FROM definition WHERE kind = ? AND tenant = ? AND id <> ?

-- name: add_definition
INSERT INTO definition (kind, tenant, id, version, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING

-- name: change_definition
UPDATE definition SET version = ?4, body = ?5 WHERE kind = ?1 AND tenant = ?2 AND id = ?3 AND version = ?4 - 1

-- name: definition
SELECT tenant, kind, id, version, body FROM definition WHERE kind = ? AND tenant = ? AND id = ?

-- name: definitions
SELECT tenant, kind, id, version, body FROM definition WHERE kind = ? ORDER BY tenant, id

-- name: definitions_of_tenant
SELECT tenant, kind, id, version, body FROM definition WHERE kind = ? AND tenant = ? ORDER BY id

-- name: delete_definition
DELETE FROM definition WHERE kind = ? AND tenant = ? AND id = ?

-- name: place
SELECT name, position, state FROM follower WHERE tenant_no = ? AND name = ?

-- name: places
SELECT name, position FROM follower WHERE tenant_no = ? ORDER BY name

-- name: save_place
INSERT INTO follower (tenant_no, name, position, state) VALUES (?, ?, ?, ?)
ON CONFLICT (tenant_no, name) DO UPDATE SET position = excluded.position, state = excluded.state

-- name: delete_place
DELETE FROM follower WHERE tenant_no = ? AND name = ?

-- name: add_delivery
INSERT INTO delivery (tenant_no, webhook_id, position, state, due_at, changed_at, attempts, attempts_in_all)
VALUES (?1, ?2, ?3, 0, ?4, ?4, 0, 0)
ON CONFLICT DO NOTHING

-- name: due_deliveries
-- State 0, here and below, is written out, so that the index of these is used.
SELECT webhook_id, position, state, due_at, changed_at, attempts, attempts_in_all
  FROM delivery
 WHERE tenant_no = ? AND webhook_id = ? AND state = 0 AND due_at <= ?
 ORDER BY due_at, position LIMIT ?

-- name: next_due
SELECT min(due_at) FROM delivery WHERE tenant_no = ? AND webhook_id = ? AND state = 0

-- name: delivery
SELECT webhook_id, position, state, due_at, changed_at, attempts, attempts_in_all
  FROM delivery
 WHERE tenant_no = ? AND webhook_id = ? AND position = ?

-- name: deliveries
-- Those in one state. By its index, which SQLite does not choose by itself: those of a rare state may be far apart.
SELECT webhook_id, position, state, due_at, changed_at, attempts, attempts_in_all
  FROM delivery INDEXED BY delivery_state
 WHERE tenant_no = ? AND webhook_id = ? AND state = ? AND position > ?
 ORDER BY position LIMIT ?

-- name: count_deliveries
SELECT state, count(*) FROM delivery WHERE tenant_no = ? AND webhook_id = ? GROUP BY state

-- name: change_delivery
UPDATE delivery SET state = ?4, due_at = ?5, changed_at = ?6, attempts = ?7, attempts_in_all = ?8
 WHERE tenant_no = ?1 AND webhook_id = ?2 AND position = ?3

-- name: add_attempt
INSERT INTO attempt (tenant_no, webhook_id, position, number, started_at, duration_ms, status, error, answer)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
       -- An answer may repeat what was erased while it was on its way.
       CASE WHEN EXISTS (SELECT 1 FROM event WHERE key = (?1 << 40 | ?3) AND payload IS NULL) THEN x'' ELSE ?9 END
 WHERE EXISTS (SELECT 1 FROM delivery WHERE tenant_no = ?1 AND webhook_id = ?2 AND position = ?3)
ON CONFLICT DO NOTHING

-- name: attempts
SELECT webhook_id, position, number, started_at, duration_ms, status, error, answer
  FROM attempt
 WHERE tenant_no = ? AND webhook_id = ? AND position = ?
 ORDER BY number

-- name: retry_delivery
UPDATE delivery SET state = 0, due_at = ?4, changed_at = ?4, attempts = 0
 WHERE tenant_no = ?1 AND webhook_id = ?2 AND position = ?3

-- name: old_deliveries
SELECT position FROM delivery
 WHERE tenant_no = ? AND webhook_id = ? AND state <> 0 AND changed_at < ?
 ORDER BY changed_at, position LIMIT ?

-- name: delete_delivery
DELETE FROM delivery WHERE tenant_no = ? AND webhook_id = ? AND position = ?

-- name: delete_attempts
DELETE FROM attempt WHERE tenant_no = ? AND webhook_id = ? AND position = ?

-- name: payload_fields
SELECT path, field, indexed_to FROM payload_field WHERE tenant_no = ? ORDER BY path

-- name: payload_value
SELECT field, text, key, events FROM payload_value WHERE tenant_no = ? AND field = ? AND text = ?

-- name: payload_value_key
SELECT key FROM payload_value WHERE tenant_no = ? AND field = ? AND text = ?

-- name: unindexed
-- The value is the paths that are to be indexed, as a JSON array.
SELECT t.tenant FROM tenant t
 WHERE t.tenant NOT LIKE '/%'
   AND ((t.size > 0 AND EXISTS (
         SELECT 1 FROM json_each(?1) asked
           LEFT JOIN payload_field f ON f.tenant_no = t.tenant_no AND f.path = asked.value
          WHERE f.indexed_to IS NULL OR f.indexed_to < t.size))
        OR EXISTS (SELECT 1 FROM payload_field f
                    WHERE f.tenant_no = t.tenant_no AND f.path NOT IN (SELECT value FROM json_each(?1))))
 ORDER BY t.tenant

-- name: counts_of_field
-- Of all events in the index.
SELECT text, events, failures FROM payload_value WHERE tenant_no = ? AND field = ? LIMIT ?

-- name: payload_values_named
SELECT text, events FROM payload_value WHERE tenant_no = ? AND field = ? AND text BETWEEN ? AND ?
 ORDER BY text LIMIT ?

-- name: add_payload_field
INSERT INTO payload_field (tenant_no, field, path, indexed_to) VALUES (?, ?, ?, 0)

-- name: move_payload_field
UPDATE payload_field SET indexed_to = ? WHERE tenant_no = ? AND field = ?

-- name: empty_payload_field
UPDATE payload_field SET indexed_to = 0 WHERE tenant_no = ? AND field = ?

-- name: delete_payload_field
DELETE FROM payload_field WHERE tenant_no = ? AND field = ?

-- name: payload_part
-- The events after a position and up to another.
SELECT e.key & 0xFFFFFFFFFF, e.occurred_at, k.outcome = 'failure', e.payload
  FROM event e NOT INDEXED
 CROSS JOIN kind k ON k.tenant_no = e.tenant_no AND k.kind = e.kind
 WHERE e.key > (?1 << 40 | ?2) AND e.key <= (?1 << 40 | ?3)
 ORDER BY e.key

-- name: payloads_to_forget
SELECT e.key & 0xFFFFFFFFFF, e.occurred_at, k.outcome = 'failure', e.payload
  FROM event e
 CROSS JOIN kind k ON k.tenant_no = e.tenant_no AND k.kind = e.kind
 WHERE e.key IN (SELECT value FROM carray(?))

-- name: last_payload_value
SELECT coalesce(max(key) & 0xFFFFFFFFFF, 0) FROM payload_value WHERE key > ?1 << 40 AND key < (?1 + 1) << 40

-- name: add_to_payload_value
INSERT INTO payload_value (key, tenant_no, field, text, events, failures) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant_no, field, text) DO UPDATE
   SET events = events + excluded.events, failures = failures + excluded.failures
RETURNING key

-- name: add_payload_entry
INSERT INTO payload_entry (value, occurred_at, key) VALUES (?, ?, ?)

-- name: any_payload_value
SELECT key FROM payload_value WHERE tenant_no = ? AND field = ? LIMIT 1

-- name: delete_payload_entries
DELETE FROM payload_entry WHERE (value, occurred_at, key) IN (
       SELECT value, occurred_at, key FROM payload_entry WHERE value = ?1 LIMIT ?2)

-- name: delete_payload_entry
DELETE FROM payload_entry WHERE value = ? AND occurred_at = ? AND key = ?

-- name: take_from_payload_value
UPDATE payload_value SET events = events - ?, failures = failures - ? WHERE key = ?

-- name: delete_payload_value
-- Unless an event has it.
DELETE FROM payload_value WHERE key = ?1 AND NOT EXISTS (SELECT 1 FROM payload_entry WHERE value = ?1)

-- name: payload_entries
SELECT v.text, e.occurred_at, e.key & 0xFFFFFFFFFF
  FROM payload_value v CROSS JOIN payload_entry e ON e.value = v.key
 WHERE v.tenant_no = ?1 AND v.field = ?2

-- name: wrong_payload_values
SELECT 1 FROM (
  SELECT v.key, v.events, v.failures FROM payload_value v WHERE v.tenant_no = ?1
  EXCEPT
  SELECT p.value, count(*), sum(k.outcome = 'failure')
    FROM payload_entry p CROSS JOIN event e ON e.key = p.key
   CROSS JOIN kind k ON k.tenant_no = e.tenant_no AND k.kind = e.kind
   WHERE p.value > ?1 << 40 AND p.value < (?1 + 1) << 40 GROUP BY p.value) LIMIT 1

-- name: stray_payload_values
-- Values of no field, and entries of no value.
SELECT 1 FROM payload_value v
 WHERE v.tenant_no = ?1
   AND (v.field NOT IN (SELECT field FROM payload_field WHERE tenant_no = ?1) OR v.key >> 40 <> ?1)
 UNION ALL
SELECT 1 FROM payload_entry
 WHERE value > ?1 << 40 AND value < (?1 + 1) << 40 AND value NOT IN (SELECT key FROM payload_value)
 LIMIT 1

-- name: tenants
-- Without former logs, whose names begin with '/'; here and below.
SELECT tenant, tenant_no FROM tenant WHERE tenant NOT LIKE '/%' ORDER BY tenant

-- name: tenant_names
-- Those after a name; the tenant of operators' keys comes before every name. A negative limit is none.
SELECT tenant FROM tenant WHERE tenant > ?1 AND tenant NOT LIKE '/%'
 UNION SELECT tenant FROM api_key WHERE tenant > ?1 ORDER BY 1 LIMIT ?2

-- name: unsealed
-- The origin of the highest epoch is in use.
SELECT t.tenant, t.size, t.compact_range FROM tenant t
 WHERE t.size > coalesce((SELECT o.size FROM origin o WHERE o.tenant_no = t.tenant_no ORDER BY o.epoch DESC LIMIT 1), 0)
   AND t.tenant NOT LIKE '/%'
 ORDER BY t.tenant

-- name: origins
SELECT epoch, name, key, size FROM origin WHERE tenant_no = ? ORDER BY epoch

-- name: last_origins
-- The origin in use of every tenant that has one.
SELECT t.tenant, t.size, o.epoch, o.name
  FROM origin o JOIN tenant t ON t.tenant_no = o.tenant_no
 WHERE o.epoch = (SELECT max(epoch) FROM origin WHERE tenant_no = o.tenant_no) AND t.tenant NOT LIKE '/%'

-- name: add_origin
INSERT INTO origin (tenant_no, epoch, name, key, size) VALUES (?, ?, ?, ?, 0) ON CONFLICT DO NOTHING

-- name: advance_origin
UPDATE origin SET size = ?4 WHERE tenant_no = ?1 AND epoch = ?2 AND size = ?3 AND ?4 > ?3

-- name: add_checkpoint
INSERT INTO checkpoint (tenant_no, epoch, size, root, signed_at, note) VALUES (?, ?, ?, ?, ?, ?)

-- name: drop_checkpoint
-- Unless it is the first of its hour.
DELETE FROM checkpoint AS c WHERE c.tenant_no = ?1 AND c.epoch = ?2 AND c.size = ?3
   AND EXISTS (SELECT 1 FROM checkpoint o WHERE o.tenant_no = ?1 AND o.epoch = ?2 AND o.size < ?3
                  AND o.signed_at / ?4 = c.signed_at / ?4)

-- name: checkpoints
SELECT epoch, size, root, signed_at, note FROM checkpoint
 WHERE tenant_no = ?1 AND epoch = (SELECT max(epoch) FROM origin WHERE tenant_no = ?1) AND size < ?2
 ORDER BY size DESC LIMIT ?3

-- name: last_checkpoint
SELECT epoch, size, root, signed_at, note FROM checkpoint WHERE tenant_no = ? AND epoch = ? ORDER BY size DESC LIMIT 1

-- name: leaves
-- In one value, since rows cost more. group_concat joins the bytes as if they were text, and the cast takes them back.
SELECT coalesce(CAST(group_concat(leaf, '') AS BLOB), x'')
  FROM (SELECT leaf FROM event WHERE key > ? AND key <= ? ORDER BY key)

-- name: retained_from
SELECT retained_from FROM tenant WHERE tenant_no = ?

-- name: leaf_tiles
-- The leaves of the positions before the first one that is kept.
SELECT hashes FROM tile WHERE tenant_no = ? AND level = 0 AND number BETWEEN ? AND ? ORDER BY number

-- name: tile
SELECT substr(hashes, 1, ?4) FROM tile WHERE tenant_no = ?1 AND level = ?2 AND number = ?3

-- name: last_tile
SELECT number, length(hashes) FROM tile WHERE tenant_no = ? AND level = ? ORDER BY number DESC LIMIT 1

-- name: put_tile
-- One that is there may only grow.
INSERT INTO tile (tenant_no, level, number, hashes) VALUES (?, ?, ?, ?)
ON CONFLICT (tenant_no, level, number) DO UPDATE SET hashes = excluded.hashes
 WHERE substr(excluded.hashes, 1, length(tile.hashes)) = tile.hashes

-- name: position_of
SELECT key & 0xFFFFFFFFFF FROM event WHERE tenant_no = ? AND id = ?

-- name: log_part
SELECT key, salt, payload_hash, leaf, envelope_version FROM event WHERE key > ? AND key <= ? ORDER BY key

-- name: hashes
SELECT key, salt, payload_hash, leaf, envelope_version FROM event WHERE key > ?1 << 40 AND key < (?1 + 1) << 40 ORDER BY key

-- name: times
SELECT occurred_at, actor, kind FROM event NOT INDEXED WHERE key > ?1 << 40 AND key < (?1 + 1) << 40

-- name: wrong_flows
SELECT 1 FROM (
  SELECT f.key, f.events, f.failures, f.first_at, f.last_at FROM flow f WHERE f.tenant_no = ?1
  EXCEPT
  SELECT e.tenant_no << 40 | e.flow, count(*), sum(k.outcome = 'failure'), min(e.occurred_at), max(e.occurred_at)
    FROM event e JOIN kind k ON k.tenant_no = e.tenant_no AND k.kind = e.kind
   WHERE e.tenant_no = ?1 GROUP BY e.flow) LIMIT 1

-- name: wrong_resources
SELECT 1 FROM (
  SELECT r.key, r.events FROM resource r WHERE r.tenant_no = ?1
  EXCEPT
  SELECT e.tenant_no << 40 | e.resource, count(*) FROM event e WHERE e.tenant_no = ?1 GROUP BY e.resource)
 UNION ALL
SELECT 1 FROM resource WHERE tenant_no = ?1 GROUP BY resource_id, resource_type HAVING count(*) > 1
 UNION ALL  -- an event says the type by its kind, and is found by that of its resource
SELECT 1 FROM event e  -- by the key, as the rows lie: no index has both
 CROSS JOIN kind k ON k.tenant_no = ?1 AND k.kind = e.kind
 CROSS JOIN resource r ON r.key = ?1 << 40 | e.resource
 WHERE e.key > ?1 << 40 AND e.key < (?1 + 1) << 40 AND (r.tenant_no, r.resource_type) <> (?1, k.resource_type)
 LIMIT 1

-- name: wrong_names
-- The head holds the highest number that was given. If it were lower than one in use, that number would be used twice.
SELECT 1 FROM tenant t
 WHERE t.tenant_no = ?1
   AND (t.kinds < (SELECT coalesce(max(kind), 0) FROM kind WHERE tenant_no = ?1)
        OR t.actors < (SELECT coalesce(max(key) & 0xFFFFFFFFFF, 0) FROM actor
                        WHERE key > ?1 << 40 AND key < (?1 + 1) << 40)
        OR t.flows < (SELECT coalesce(max(key) & 0xFFFFFFFFFF, 0) FROM flow
                       WHERE key > ?1 << 40 AND key < (?1 + 1) << 40)
        OR t.resources < (SELECT coalesce(max(key) & 0xFFFFFFFFFF, 0) FROM resource
                           WHERE key > ?1 << 40 AND key < (?1 + 1) << 40)
        OR t.kinds - t.kinds_removed <> (SELECT count(*) FROM kind WHERE tenant_no = ?1)
        OR t.flows - t.flows_removed <> (SELECT count(*) FROM flow WHERE tenant_no = ?1))
 UNION ALL  -- an event says the type by its kind, and is found by that of its actor
SELECT 1 FROM rollup_actor u
 CROSS JOIN kind k ON k.tenant_no = u.tenant_no AND k.kind = u.kind
 CROSS JOIN actor a ON a.key = u.tenant_no << 40 | u.actor
 WHERE u.tenant_no = ?1 AND u.level = 0 AND (a.tenant_no, a.actor_type) <> (u.tenant_no, k.actor_type)
 LIMIT 1

-- name: all_rollup_actor
SELECT bucket, actor, kind, events FROM rollup_actor WHERE tenant_no = ? AND level = ?

-- name: all_rollup_kind
SELECT bucket, kind, events FROM rollup_kind WHERE tenant_no = ? AND level = ?

-- name: all_buckets
SELECT bucket, events, divided FROM bucket WHERE tenant_no = ? AND level = ?

-- name: all_actor_totals
SELECT bucket, counts FROM actor_total WHERE tenant_no = ? AND level = ?

-- name: all_transitions
SELECT level, bucket, counts FROM transition WHERE tenant_no = ?

-- name: all_removed_transitions
SELECT level, bucket, counts FROM removed_transition WHERE tenant_no = ?

-- name: excess_leaves
SELECT 1 FROM tile WHERE tenant_no = ? AND level = 0 AND number * 256 + length(hashes) / 32 > ? LIMIT 1

-- name: upper_tiles
SELECT level, number, hashes FROM tile WHERE tenant_no = ? AND level > 0

-- name: folded_transitions
-- Every event whose cause is stored, both up to a position: the times of both, and their kinds.
SELECT e.occurred_at, c.occurred_at, c.kind, e.kind
  FROM event e NOT INDEXED
 CROSS JOIN event c ON c.tenant_no = ?1 AND c.id = e.cause AND c.key <= (?1 << 40 | ?2)
 WHERE e.key > ?1 << 40 AND e.key <= (?1 << 40 | ?2)

-- name: strays
SELECT 1 FROM event NOT INDEXED
 WHERE tenant_no NOT IN (SELECT tenant_no FROM tenant) OR tenant_no <> key >> 40
    OR key >> 40 NOT IN (SELECT tenant_no FROM tenant)
 LIMIT 1
