-- The names that the code and the docs use, and the version of the envelope that each leaf was hashed from.

ALTER TABLE link RENAME TO transition;
ALTER INDEX link_pkey RENAME TO transition_pkey;
ALTER TABLE tally RENAME TO actor_total;
ALTER INDEX tally_pkey RENAME TO actor_total_pkey;
ALTER TABLE head RENAME COLUMN linked TO folded_to;
ALTER TABLE head RENAME COLUMN kinds_mark TO kinds_version;

ALTER TABLE event ADD COLUMN envelope_version smallint NOT NULL DEFAULT 1;
