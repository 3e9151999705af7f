-- Named blocks about the catalogue: what is in the schema, and in the small one beside it, for the comparison in
-- catalogue.py. All of it is text, so that the driver needs no lookup of types.

-- name: settings
-- A login or a database may have another search path, in which other functions and operators come first. It and the
-- others also decide how expressions are written out.
SET LOCAL search_path TO pg_catalog, pg_temp;
SET LOCAL timezone TO 'UTC';
SET LOCAL datestyle TO 'ISO';
SET LOCAL intervalstyle TO 'postgres';
SET LOCAL bytea_output TO 'hex';
SET LOCAL standard_conforming_strings TO on;
SET LOCAL quote_all_identifiers TO off

-- name: objects
-- Type, name, table, definition, and whether the object does no harm when it is an additional one.
WITH relation AS MATERIALIZED (
    SELECT * FROM pg_class
     WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('whence', 'whence_signed'))),
extension_member AS MATERIALIZED (
    SELECT d.classid, d.objid, e.extname FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
     WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'),
grants AS (
    SELECT relname, ' TO ' AS to_, relowner AS owner, relacl AS acl FROM relation
     UNION ALL
    SELECT r.relname, format(' (%s) TO ', a.attname), r.relowner, a.attacl
      FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid WHERE a.attacl IS NOT NULL
     UNION ALL
    SELECT '', format(' ON SCHEMA %s TO ', nspname), nspowner, nspacl
      FROM pg_namespace WHERE nspname IN ('whence', 'whence_signed'))

SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'f' THEN 'foreign table'
                      WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                      ELSE 'type' END,
       c.relname::text, '',
       CASE WHEN c.relkind IN ('v', 'm') THEN concat_ws(' ', c.reloptions::text, pg_get_viewdef(c.oid))
            WHEN c.relkind = 'S' THEN (
                 SELECT format('%s by %s from %s to %s %s', format_type(s.seqtypid, NULL), s.seqincrement, s.seqmin,
                               s.seqmax, CASE WHEN s.seqcycle THEN 'cycle' ELSE 'no cycle' END)
                   FROM pg_sequence s WHERE s.seqrelid = c.oid)
            ELSE CASE c.relpersistence WHEN 'p' THEN 'permanent' ELSE 'unlogged' END END,
       c.relkind IN ('v', 'm')
  FROM relation c WHERE c.relkind NOT IN ('i', 'I', 't')

 UNION ALL
SELECT 'setting', setting, relname::text, '', false
  FROM relation
 CROSS JOIN LATERAL (VALUES ('ENABLE ROW LEVEL SECURITY', relrowsecurity),
                            ('FORCE ROW LEVEL SECURITY', relforcerowsecurity)) AS v (setting, is_on)
 WHERE is_on

 UNION ALL
SELECT 'column', a.attname::text, c.relname::text,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod),
                 (SELECT 'COLLATE ' || l.collname FROM pg_collation l JOIN pg_type t ON t.oid = a.atttypid
                   WHERE l.oid = a.attcollation AND l.oid <> t.typcollation),
                 CASE WHEN a.attnotnull THEN 'NOT NULL' END,
                 CASE WHEN a.attidentity <> '' THEN 'IDENTITY' END, CASE WHEN a.attgenerated <> '' THEN 'GENERATED' END,
                 (SELECT 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d
                   WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum)),
       false
  FROM relation c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relkind IN ('r', 'p', 'f')

 UNION ALL
-- An index runs functions of its expressions and operators when rows are written.
SELECT 'index', c.relname::text, t.relname::text,
       concat_ws(' ', pg_get_indexdef(c.oid), CASE WHEN NOT i.indisvalid THEN 'INVALID' END),
       NOT i.indisunique AND NOT i.indisexclusion AND NOT EXISTS (
           SELECT FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
              AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass,
                                   'pg_type'::regclass)
              AND NOT EXISTS (SELECT FROM extension_member m WHERE m.classid = d.refclassid AND m.objid = d.refobjid))
  FROM relation c JOIN pg_index i ON i.indexrelid = c.oid JOIN relation t ON t.oid = i.indrelid

 UNION ALL
-- Without those of NOT NULL, which only PostgreSQL 18 and later name; columns tell them.
SELECT 'constraint', k.conname::text, c.relname::text, pg_get_constraintdef(k.oid), false
  FROM relation c JOIN pg_constraint k ON k.conrelid = c.oid
 WHERE k.contype IN ('c', 'f', 'p', 'u', 'x')

 UNION ALL
-- A row that is deleted or changed here may be deleted or changed there, with all that follows.
SELECT 'foreign key', format('%s of %s', k.conname, k.conrelid::regclass), c.relname::text, '', false
  FROM relation c JOIN pg_constraint k ON k.confrelid = c.oid
 WHERE k.conrelid NOT IN (SELECT oid FROM relation)

 UNION ALL
-- Without those of foreign keys, which are constraints, and those that Citus adds to each of its tables.
SELECT 'trigger', t.tgname::text, c.relname::text, '', false
  FROM relation c JOIN pg_trigger t ON t.tgrelid = c.oid
 WHERE NOT (t.tgisinternal AND t.tgconstraint <> 0)
   AND NOT EXISTS (SELECT FROM extension_member m
                    WHERE m.classid = 'pg_proc'::regclass AND m.objid = t.tgfoid AND m.extname = 'citus')

 UNION ALL
SELECT 'rule', r.rulename::text, c.relname::text, '', false
  FROM relation c JOIN pg_rewrite r ON r.ev_class = c.oid
 WHERE NOT (c.relkind IN ('v', 'm') AND r.rulename = '_RETURN')

 UNION ALL
SELECT 'policy', p.polname::text, c.relname::text,
       concat_ws(' ', CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                 CASE p.polcmd WHEN '*' THEN 'FOR ALL' WHEN 'r' THEN 'FOR SELECT' WHEN 'a' THEN 'FOR INSERT'
                               WHEN 'w' THEN 'FOR UPDATE' ELSE 'FOR DELETE' END,
                 'TO ' || (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(role)::text END, ', '
                                             ORDER BY role) FROM unnest(p.polroles) AS role),
                 'USING ' || pg_get_expr(p.polqual, p.polrelid),
                 'WITH CHECK ' || pg_get_expr(p.polwithcheck, p.polrelid)),
       false
  FROM relation c JOIN pg_policy p ON p.polrelid = c.oid

 UNION ALL
SELECT 'child table', i.inhrelid::regclass::text, c.relname::text, '', false
  FROM relation c JOIN pg_inherits i ON i.inhparent = c.oid
 WHERE c.relkind NOT IN ('i', 'I')

 UNION ALL
-- What owners may do needs no grant. The owner is the schema's, or a superuser, who may do everything anyway.
SELECT 'owner', pg_get_userbyid(c.relowner)::text, c.relname::text, '', false
  FROM relation c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind NOT IN ('i', 'I', 't') AND c.relowner <> n.nspowner
   AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = c.relowner AND r.rolsuper)

 UNION ALL
SELECT 'grant',
       x.privilege_type || g.to_ || CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(x.grantee)::text END,
       g.relname::text, CASE WHEN x.is_grantable THEN 'WITH GRANT OPTION' ELSE '' END, false
  FROM grants g CROSS JOIN LATERAL aclexplode(g.acl) AS x
 WHERE x.grantee <> g.owner

 UNION ALL
-- Functions, operators, types and whatever else is in the schema. Of a function, a digest of its code and its parameters.
SELECT o.type, o.identity, '',
       coalesce((SELECT concat_ws(' ', l.lanname, CASE WHEN p.prosecdef THEN 'SECURITY DEFINER' END,
                                  'SET ' || array_to_string(p.proconfig, ', '), 'RETURNS', pg_get_function_result(p.oid),
                                  encode(sha256(convert_to(concat(pg_get_function_arguments(p.oid), p.provolatile,
                                                                  p.prosrc), 'UTF8')), 'hex'))
                   FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
                  WHERE d.classid = 'pg_proc'::regclass AND p.oid = d.objid), ''),
       o.type IN ('statistics object', 'publication namespace')
  FROM pg_depend d CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) AS o
 WHERE d.refclassid = 'pg_namespace'::regclass AND d.deptype IN ('n', 'a')
   AND d.refobjid IN (SELECT oid FROM pg_namespace WHERE nspname IN ('whence', 'whence_signed'))
   AND d.classid <> 'pg_class'::regclass
 ORDER BY 1, 3, 2
