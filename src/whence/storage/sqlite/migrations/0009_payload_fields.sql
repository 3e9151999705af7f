-- An index of the payload fields that the operator names. It is filled after the appends, in slices, and can be made anew
-- from the payloads at any time.

-- The paths that are indexed. Every event up to the position `indexed_to` has its entries, and no later one has any.
CREATE TABLE payload_field (
    tenant_no  INTEGER NOT NULL,
    field      INTEGER NOT NULL,
    path       TEXT    NOT NULL,
    indexed_to INTEGER NOT NULL,
    PRIMARY KEY (tenant_no, field),
    UNIQUE (tenant_no, path)
) STRICT, WITHOUT ROWID;

-- The values of a field, and how many events have them.
CREATE TABLE payload_value (
    key       INTEGER PRIMARY KEY,                -- tenant_no << 40 | number
    tenant_no INTEGER NOT NULL,
    field     INTEGER NOT NULL,
    text      TEXT    NOT NULL,
    events    INTEGER NOT NULL,
    failures  INTEGER NOT NULL,
    UNIQUE (tenant_no, field, text)
) STRICT;

-- Which events have a value, in the total order of lists. `value` and `key` are keys of payload_value and of event.
CREATE TABLE payload_entry (
    value       INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL,
    key         INTEGER NOT NULL,
    PRIMARY KEY (value, occurred_at, key)
) STRICT, WITHOUT ROWID;
