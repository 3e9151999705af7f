-- What operators' keys need, an index for the limit on keys, and the bytes of payload that a tenant has stored.

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

-- One tenant after the other, since row-level security applies to the owner too. The settings of Citus, which other
-- servers ignore, pass the tenant's number on to the nodes; those do not see what set_config does, hence EXECUTE.
SET LOCAL citus.propagate_set_commands = 'local';
SET LOCAL citus.multi_shard_modify_mode = 'sequential';
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
