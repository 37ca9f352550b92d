-- The order by which an item's files are brought back from an archive.

ALTER TABLE rs.staging_items ADD COLUMN IF NOT EXISTS archive_order uuid;

CREATE INDEX IF NOT EXISTS transfers_ordered ON rs.transfers (job, item) WHERE state = 'ordered';
