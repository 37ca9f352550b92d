-- A digest of the inputs as they came: the same request under the same key finds its job without asking any station again.

ALTER TABLE rs.jobs ADD COLUMN IF NOT EXISTS asked text;
