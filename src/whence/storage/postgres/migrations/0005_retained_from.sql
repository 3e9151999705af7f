-- The first position that is still kept. Whoever follows the log from before it would miss what was removed.
ALTER TABLE head ADD COLUMN retained_from bigint NOT NULL DEFAULT 1;
