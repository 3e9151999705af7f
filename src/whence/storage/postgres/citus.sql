-- Named blocks for a database with the extension Citus. All other statements are those of queries.sql: each of them
-- compares tenant_no of every table in it with its first value, so Citus sends it to the one machine of that tenant.

-- name: version
SELECT extversion FROM pg_extension WHERE extname = 'citus'

-- name: tables
-- What belongs to one tenant each, and how Citus keeps each table: by hash and in which group, or a copy everywhere.
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

-- name: may_log_in
SELECT rolcanlogin FROM pg_roles WHERE rolname = 'whence_app'

-- name: let_log_in
-- Citus connects to the machines as the role that is set. It hands this on to them.
ALTER ROLE whence_app LOGIN

-- name: one_by_one
-- The tables are made on all machines in one transaction, which allows one connection to each.
SET LOCAL citus.multi_shard_modify_mode = 'sequential'

-- The rest is about a table whose name comes from the catalogue. FORCE is lifted meanwhile: the rows that are there
-- already are moved by their table's owner, whom the wall would show none of them.

-- name: make_reference
SELECT create_reference_table('whence.{table}')

-- name: lift_force
ALTER TABLE whence.{table} NO FORCE ROW LEVEL SECURITY

-- name: make_first
SELECT create_distributed_table('whence.{table}', 'tenant_no', colocate_with => 'none')

-- name: make_distributed
SELECT create_distributed_table('whence.{table}', 'tenant_no', colocate_with => 'whence.head')

-- name: put_force
ALTER TABLE whence.{table} FORCE ROW LEVEL SECURITY
