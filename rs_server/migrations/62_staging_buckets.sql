-- The bucket of a staged item is decided when its place is reserved: a rule that changes later moves nothing under way.

ALTER TABLE rs.staging_items ADD COLUMN IF NOT EXISTS bucket text NOT NULL DEFAULT '';  -- '': the storage's own
ALTER TABLE rs.leftovers ADD COLUMN IF NOT EXISTS bucket text NOT NULL DEFAULT '';

-- All that files were ever staged to: a rule may go, what it has left behind is still swept.
CREATE TABLE IF NOT EXISTS rs.staging_buckets (name text PRIMARY KEY);
