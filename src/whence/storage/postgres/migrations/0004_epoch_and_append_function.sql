-- A function that stores a small append in one round trip. It reads and writes the rows that the statements of append.py
-- read and write, and nothing else; docs/adr/0035-small-appends-in-one-call.md says what it decides.
--
-- The caller has sequenced the events on the assumption that the log has none of them, that their kinds are known, and
-- that no bucket divides and no fold is due. The function checks the assumptions under the row lock on the tenant's head.
-- If one of them is wrong, it writes nothing and returns nulls.
--
-- It runs with the rights of its caller. It may be a transaction of its own, so it makes the settings that come with BEGIN
-- elsewhere.
CREATE FUNCTION append_events(
    of_tenant int, of_name text, of_kinds_version bigint, now_us bigint, divide_at bigint, fold_at bigint,
    payload_bytes_added bigint, version smallint,
    -- The actors of the events, and the earlier spellings of actors and flows. If one is stored, it has to be used.
    actor_ids text[], actor_types text[], earlier_actors text[], earlier_flows text[],
    -- The events: an item each. `actors` counts in actor_ids. `inherits` is the cause whose correlation the event takes,
    -- if that is stored. The parts of the envelope leave room for the values of correlationId and recordedAt.
    ids uuid[], times bigint[], kinds int[], actors int[], failures int[], correlations text[], inherits uuid[],
    resource_ids uuid[], resource_types text[], causations text[], causes uuid[], salts bytea[], payloads bytea[],
    parts_before bytea[], parts_between bytea[], parts_after bytea[],
    -- The buckets of every level that may count the events. `bucket_parents` counts in the same arrays, and is 0 at level
    -- 0. `paths` has the buckets of each event, one for each of `levels`.
    levels int, bucket_levels int[], bucket_numbers bigint[], bucket_parents int[], bucket_events bigint[], paths int[],
    OUT size_before bigint, OUT recorded bigint, OUT flows_taken text[])
LANGUAGE plpgsql
SET search_path = pg_catalog, whence, pg_temp
SET lock_timeout = '5s'
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
AS $$
DECLARE
    own record;
    actor_numbers bigint[];
    flow_names text[] := correlations;
    flow_numbers bigint[];
    resource_numbers bigint[];
    divided boolean[];
    is_full boolean;
    recorded_text bytea;
    leaves bytea[];
    node bytea;
    subtrees bytea;
    merging bigint;
BEGIN
    -- In a snapshot from before the wait for the lock, the last appends would be missing.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN;
    END IF;
    PERFORM set_config('role', 'whence_app', true), set_config('whence.tenant_no', of_tenant::text, true);

    SELECT * INTO own FROM head h WHERE h.tenant_no = of_tenant AND h.tenant = of_name FOR UPDATE;
    IF NOT FOUND OR own.kinds_version <> of_kinds_version OR own.measured_to <> own.size
       OR own.size + cardinality(ids) - own.folded_to >= fold_at THEN
        RETURN;
    END IF;
    -- A plan that was made while the log was small may read all of a larger one, so none is kept then. Later none is made
    -- anew, as would happen for each length of an array.
    PERFORM set_config('plan_cache_mode', CASE WHEN own.size < 1000 THEN 'force_custom_plan' ELSE 'force_generic_plan' END,
                       true);

    -- Lookups in subqueries with OFFSET 0, here and below. As a join or a list, in a log that has no statistics yet, they
    -- may scan all rows of the tenant.
    IF EXISTS (SELECT FROM unnest(ids) AS asked (id) CROSS JOIN LATERAL (
                   SELECT FROM event e WHERE e.tenant_no = of_tenant AND e.id = asked.id OFFSET 0) e)
       OR EXISTS (SELECT FROM unnest(earlier_actors) AS asked (actor_id) CROSS JOIN LATERAL (
                   SELECT FROM actor a WHERE a.tenant_no = of_tenant AND a.actor_id = asked.actor_id OFFSET 0) a)
       OR EXISTS (SELECT FROM unnest(earlier_flows) AS asked (correlation_id) CROSS JOIN LATERAL (
                   SELECT FROM flow f WHERE f.tenant_no = of_tenant AND f.correlation_id = asked.correlation_id
                   OFFSET 0) f) THEN
        RETURN;
    END IF;

    SELECT array_agg(b.divided ORDER BY b.at),
           bool_or(NOT b.divided AND b.level < levels - 1 AND b.before + b.added > divide_at)
      INTO divided, is_full
      FROM (SELECT asked.at, asked.level, asked.added, coalesce(known.divided, false) AS divided,
                   coalesce(known.events, 0) AS before
              FROM unnest(bucket_levels, bucket_numbers, bucket_events) WITH ORDINALITY AS asked (level, bucket, added, at)
              LEFT JOIN LATERAL (
                   SELECT b.events, b.divided FROM bucket b
                    WHERE b.tenant_no = of_tenant AND b.level = asked.level AND b.bucket = asked.bucket OFFSET 0
              ) known ON true) b;
    IF is_full THEN
        RETURN;
    END IF;

    IF cardinality(inherits) > 0 THEN
        SELECT array_agg(coalesce((SELECT (SELECT f.correlation_id FROM flow f
                                            WHERE f.tenant_no = of_tenant AND f.flow = cause.flow)
                                     FROM event cause WHERE cause.tenant_no = of_tenant AND cause.id = asked.cause),
                                  asked.correlation_id) ORDER BY asked.at)
          INTO flow_names
          FROM unnest(inherits, correlations) WITH ORDINALITY AS asked (cause, correlation_id, at);
        flows_taken := flow_names;
    END IF;

    SELECT array_agg((SELECT a.actor FROM actor a
                       WHERE a.tenant_no = of_tenant AND a.actor_id = asked.actor_id
                         AND a.actor_type = asked.actor_type) ORDER BY asked.at)
      INTO actor_numbers
      FROM unnest(actor_ids, actor_types) WITH ORDINALITY AS asked (actor_id, actor_type, at);
    IF array_position(actor_numbers, NULL) IS NOT NULL THEN
        FOR i IN 1 .. cardinality(actor_numbers) LOOP
            IF actor_numbers[i] IS NULL THEN
                own.actors := own.actors + 1;
                actor_numbers[i] := own.actors;
                INSERT INTO actor (tenant_no, actor, actor_id, actor_type)
                VALUES (of_tenant, own.actors, actor_ids[i], actor_types[i]);
            END IF;
        END LOOP;
    END IF;

    -- A new flow takes its place among the flows of the append as its number, and a known one keeps its own.
    WITH added AS (
        INSERT INTO flow (tenant_no, flow, correlation_id, events, failures, first_at, last_at)
        SELECT of_tenant, own.flows + row_number() OVER (ORDER BY min(e.at)), e.correlation_id, count(*),
               sum(e.failed), min(e.occurred_at), max(e.occurred_at)
          FROM unnest(flow_names, failures, times) WITH ORDINALITY AS e (correlation_id, failed, occurred_at, at)
         GROUP BY e.correlation_id
        ON CONFLICT (tenant_no, correlation_id) DO UPDATE
           SET events = flow.events + excluded.events, failures = flow.failures + excluded.failures,
               first_at = least(flow.first_at, excluded.first_at), last_at = greatest(flow.last_at, excluded.last_at)
        RETURNING flow.flow, flow.correlation_id)
    SELECT array_agg(added.flow ORDER BY e.at), greatest(own.flows, max(added.flow))
      INTO flow_numbers, own.flows
      FROM unnest(flow_names) WITH ORDINALITY AS e (correlation_id, at)
      JOIN added ON added.correlation_id = e.correlation_id;

    WITH added AS (
        INSERT INTO resource (tenant_no, resource, resource_id, resource_type, events)
        SELECT of_tenant, own.resources + row_number() OVER (ORDER BY min(e.at)), e.id, e.type, count(*)
          FROM unnest(resource_ids, resource_types) WITH ORDINALITY AS e (id, type, at)
         GROUP BY e.id, e.type
        ON CONFLICT (tenant_no, resource_id, resource_type) DO UPDATE SET events = resource.events + excluded.events
        RETURNING resource.resource, resource.resource_id, resource.resource_type)
    SELECT array_agg(added.resource ORDER BY e.at), greatest(own.resources, max(added.resource))
      INTO resource_numbers, own.resources
      FROM unnest(resource_ids, resource_types) WITH ORDINALITY AS e (id, type, at)
      JOIN added ON added.resource_id = e.id AND added.resource_type = e.type;

    size_before := own.size;
    recorded := greatest(own.recorded_at, now_us);
    recorded_text := convert_to(to_char(timestamp 'epoch' + recorded * interval '1 microsecond',
                                        'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'UTF8');
    WITH added AS (
        INSERT INTO event (tenant_no, position, id, occurred_at, recorded_at, kind, actor, flow, resource, causation_id,
                           cause_id, leaf, salt, payload, envelope_version)
        SELECT of_tenant, size_before + e.at, e.id, e.occurred_at, recorded, e.kind, actor_numbers[e.actor], e.flow,
               e.resource, e.causation_id, e.cause_id,
               sha256('\x00'::bytea || e.before || convert_to(to_json(e.flow_name)::text, 'UTF8') || e.between
                      || recorded_text || e.after),
               e.salt, e.payload, version
          FROM unnest(ids, times, kinds, actors, flow_numbers, resource_numbers, causations, causes, flow_names,
                      parts_before, parts_between, parts_after, salts, payloads)
               WITH ORDINALITY AS e (id, occurred_at, kind, actor, flow, resource, causation_id, cause_id, flow_name,
                                     before, between, after, salt, payload, at)
        RETURNING event.position, event.leaf)
    SELECT array_agg(added.leaf ORDER BY added.position) INTO leaves FROM added;

    -- The compact range of the Merkle tree; see merkle.py.
    subtrees := own.compact_range;
    FOREACH node IN ARRAY leaves LOOP
        merging := own.size;
        WHILE merging % 2 = 1 LOOP
            node := sha256('\x01'::bytea || substr(subtrees, octet_length(subtrees) - 31) || node);
            subtrees := substr(subtrees, 1, octet_length(subtrees) - 32);
            merging := merging / 2;
        END LOOP;
        subtrees := subtrees || node;
        own.size := own.size + 1;
    END LOOP;

    -- A bucket has a row if it is the one of level 0, or its parent is divided.
    INSERT INTO bucket (tenant_no, level, bucket, events)
    SELECT of_tenant, b.level, b.bucket, b.added
      FROM unnest(bucket_levels, bucket_numbers, bucket_parents, bucket_events) AS b (level, bucket, parent, added)
     WHERE b.parent = 0 OR divided[b.parent]
    ON CONFLICT (tenant_no, level, bucket) DO UPDATE SET events = bucket.events + excluded.events;

    INSERT INTO rollup_kind (tenant_no, level, bucket, kind, events)
    SELECT of_tenant, bucket_levels[p.bucket], bucket_numbers[p.bucket], kinds[(p.at - 1) / levels + 1], count(*)
      FROM unnest(paths) WITH ORDINALITY AS p (bucket, at)
     WHERE bucket_parents[p.bucket] = 0 OR divided[bucket_parents[p.bucket]]
     GROUP BY 2, 3, 4
    ON CONFLICT (tenant_no, level, bucket, kind) DO UPDATE SET events = rollup_kind.events + excluded.events;

    INSERT INTO rollup_actor (tenant_no, level, bucket, actor, kind, events)
    SELECT of_tenant, bucket_levels[p.bucket], bucket_numbers[p.bucket], actor_numbers[actors[(p.at - 1) / levels + 1]],
           kinds[(p.at - 1) / levels + 1], count(*)
      FROM unnest(paths) WITH ORDINALITY AS p (bucket, at)
     WHERE bucket_parents[p.bucket] = 0 OR divided[bucket_parents[p.bucket]]
     GROUP BY 2, 3, 4, 5
    ON CONFLICT (tenant_no, level, bucket, actor, kind) DO UPDATE SET events = rollup_actor.events + excluded.events;

    UPDATE head h
       SET size = own.size, recorded_at = recorded, compact_range = subtrees, actors = own.actors, flows = own.flows,
           resources = own.resources, payload_bytes = own.payload_bytes + payload_bytes_added, measured_to = own.size
     WHERE h.tenant_no = of_tenant;
END
$$;
