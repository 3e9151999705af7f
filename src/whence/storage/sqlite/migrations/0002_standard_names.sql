-- The names that the code and the docs use, and the version of the envelope that each leaf was hashed from.

ALTER TABLE link RENAME TO transition;
ALTER TABLE tally RENAME TO actor_total;
ALTER TABLE tenant RENAME COLUMN linked TO folded_to;

-- Last, after the payload: a small constant lies in the record's header, so reading it touches no overflow page.
ALTER TABLE event ADD COLUMN envelope_version INTEGER NOT NULL DEFAULT 1;
