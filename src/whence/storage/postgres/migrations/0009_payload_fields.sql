-- An index of the payload fields that the operator names. It is filled after the appends, in slices, and can be made anew
-- from the payloads at any time.

-- The paths that are indexed. Every event up to the position `indexed_to` has its entries, and no later one has any.
CREATE TABLE payload_field (
    indexed_to bigint NOT NULL,
    tenant_no  int    NOT NULL,
    field      int    NOT NULL,
    path       text   COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_no, field),
    UNIQUE (tenant_no, path)
);

-- The values of a field, and how many events have them.
CREATE TABLE payload_value (
    value     bigint NOT NULL,
    events    bigint NOT NULL,
    failures  bigint NOT NULL,
    tenant_no int    NOT NULL,
    field     int    NOT NULL,
    text      text   COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_no, value),
    UNIQUE (tenant_no, field, text)
);

-- Which events have a value, in the total order of lists.
CREATE TABLE payload_entry (
    value       bigint NOT NULL,
    occurred_at bigint NOT NULL,
    position    bigint NOT NULL,
    tenant_no   int    NOT NULL,
    PRIMARY KEY (tenant_no, value, occurred_at, position)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['payload_field', 'payload_value', 'payload_entry'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY one_tenant ON %I USING '
                       '(tenant_no = NULLIF(current_setting(''whence.tenant_no'', true), '''')::int)', name);
    END LOOP;
END
$$;

GRANT SELECT, INSERT, UPDATE, DELETE ON payload_field, payload_value TO whence_app;
GRANT SELECT, INSERT, DELETE ON payload_entry TO whence_app;

-- What is removed from the log is removed from the index.
GRANT SELECT ON payload_field, payload_value, payload_entry TO whence_keeper;
GRANT UPDATE, DELETE ON payload_value TO whence_keeper;
GRANT DELETE ON payload_entry TO whence_keeper;
