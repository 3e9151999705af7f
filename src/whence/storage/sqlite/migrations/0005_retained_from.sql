-- The first position that is still kept. Whoever follows the log from before it would miss what was removed.
ALTER TABLE tenant ADD COLUMN retained_from INTEGER NOT NULL DEFAULT 1;
