-- A search may find two items of one id, in two collections of stations: the first is staged, and the other is told of.

ALTER TABLE rs.staging_items DROP CONSTRAINT IF EXISTS staging_items_job_item_key;
ALTER TABLE rs.staging_items ADD UNIQUE (job, item, service, collection);
