-- Named blocks for a database with the Citus extension. All other statements are in queries.sql. Each of those compares
-- the tenant_no of every table in it with its first parameter, so Citus routes it to that tenant's node.

-- name: version
SELECT extversion FROM pg_extension WHERE extname = 'citus'

-- name: tables
-- Each table: whether its rows belong to tenants, how Citus keeps it, and its co-location group.
SELECT c.relname,
       c.relname <> 'tenant' AND EXISTS (SELECT FROM pg_attribute a
                                          WHERE a.attrelid = c.oid AND a.attname = 'tenant_no' AND NOT a.attisdropped),
       CASE WHEN p.partmethod = 'h' THEN 'distributed' WHEN p.partmethod = 'n' AND p.repmodel = 't' THEN 'reference'
            WHEN p.partmethod IS NOT NULL THEN 'otherwise' END,
       p.colocationid
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_dist_partition p ON p.logicalrelid = c.oid
 WHERE n.nspname = 'whence' AND c.relkind = 'r' AND c.relname <> 'migration'
 ORDER BY c.relname

-- name: check_timeout
-- A worker that answers nothing must not hold a connection of the server for long.
SET LOCAL statement_timeout = 1500

-- name: workers
-- Each worker, whether it answered, and what it said. The workers are asked at the same time, on new connections.
SELECT format('%s:%s', nodename, nodeport), success, result
  FROM run_command_on_workers('SHOW transaction_read_only')

-- name: show_shards
SET LOCAL citus.override_table_visibility = off

-- name: shards
SELECT c.relname || '_' || s.shardid
  FROM pg_dist_shard s
  JOIN pg_class c ON c.oid = s.logicalrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'whence'

-- name: can_log_in
SELECT rolname FROM pg_roles WHERE rolname IN ('whence_app', 'whence_keeper') AND rolcanlogin

-- name: allow_login
-- Citus connects to the nodes as the current role. It propagates this statement to them. The caller formats the name of a
-- role into it.
ALTER ROLE {role} LOGIN

-- name: sequential
-- All tables are distributed in one transaction, which needs a single connection to each node.
SET LOCAL citus.multi_shard_modify_mode = 'sequential'

-- The caller formats a table's name, from the catalogue, into the blocks below. FORCE is lifted while a table is
-- distributed: its owner moves the existing rows, and row-level security would hide them from the owner.

-- name: make_reference
SELECT create_reference_table('whence.{table}')

-- name: unforce_rls
ALTER TABLE whence.{table} NO FORCE ROW LEVEL SECURITY

-- name: make_first
SELECT create_distributed_table('whence.{table}', 'tenant_no', colocate_with => 'none')

-- name: make_distributed
SELECT create_distributed_table('whence.{table}', 'tenant_no', colocate_with => 'whence.head')

-- name: force_rls
ALTER TABLE whence.{table} FORCE ROW LEVEL SECURITY
