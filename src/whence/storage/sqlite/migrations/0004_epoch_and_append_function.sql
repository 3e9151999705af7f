-- Goes up with each removal of events or payloads. What a process has cached of the tenant's events ends with it.
ALTER TABLE tenant ADD COLUMN removal_epoch INTEGER NOT NULL DEFAULT 0;
