-- What operators' keys need, an index for the limit on keys, and the bytes of payload that a tenant has stored.

-- An operator's key belongs to no tenant: its tenant is '' and it has no scopes of its own, so a server of the previous
-- release allows it nothing. `ceiling` holds the scopes that it may pass on; null for a tenant's key.
ALTER TABLE api_key ADD COLUMN ceiling TEXT;

CREATE INDEX api_key_unrevoked ON api_key (tenant, expires_at) WHERE revoked_at IS NULL;

-- The tenant and the scopes of a session that was made with an operator's token; null for those of its key.
ALTER TABLE session ADD COLUMN tenant TEXT;
ALTER TABLE session ADD COLUMN scopes TEXT;

-- The bytes of the payloads at positions 1..measured_to. A server of the previous release appends without counting, and
-- the next append counts what it left out.
ALTER TABLE tenant ADD COLUMN payload_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant ADD COLUMN measured_to INTEGER NOT NULL DEFAULT 0;

UPDATE tenant SET measured_to = size,
       payload_bytes = (SELECT coalesce(sum(length(payload)), 0) FROM event
                         WHERE key > tenant.tenant_no << 40 AND key < (tenant.tenant_no + 1) << 40);
