-- What operators' keys need, an index for the limit on keys, and the bytes of payload that a tenant has stored.

-- For Citus; other servers ignore these settings. The tables of one transaction are changed over one connection to each
-- node, and the tenant's number, which is set below, reaches the nodes.
SET LOCAL citus.multi_shard_modify_mode = 'sequential';
SET LOCAL citus.propagate_set_commands = 'local';

-- An operator's key belongs to no tenant: its tenant is '' and it has no scopes of its own, so a server of the previous
-- release allows it nothing. `ceiling` holds the scopes that it may pass on; null for a tenant's key.
ALTER TABLE api_key ADD COLUMN ceiling text;

CREATE INDEX api_key_unrevoked ON api_key (tenant, expires_at) WHERE revoked_at IS NULL;

-- The tenant and the scopes of a session that was made with an operator's token; null for those of its key.
ALTER TABLE session ADD COLUMN tenant text COLLATE "C";
ALTER TABLE session ADD COLUMN scopes text;

-- The bytes of the payloads at positions 1..measured_to. A server of the previous release appends without counting, and
-- the next append counts what it left out.
ALTER TABLE head ADD COLUMN payload_bytes bigint NOT NULL DEFAULT 0;
ALTER TABLE head ADD COLUMN measured_to bigint NOT NULL DEFAULT 0;

-- One tenant after the other, since row-level security applies to the owner too. EXECUTE, since Citus passes on SET to
-- its nodes and not set_config.
DO $$
DECLARE
    number int;
BEGIN
    FOR number IN SELECT tenant_no FROM tenant LOOP
        EXECUTE format('SET LOCAL whence.tenant_no = %L', number::text);
        UPDATE head SET measured_to = size,
               payload_bytes = (SELECT coalesce(sum(octet_length(payload)), 0) FROM event WHERE tenant_no = number)
         WHERE tenant_no = number;
    END LOOP;
    SET LOCAL whence.tenant_no = '';
END
$$;
