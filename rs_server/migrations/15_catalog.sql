-- Downlink sessions and auxiliary files cover no place: STAC says so with a null geometry, which pgstac's table refuses.

ALTER TABLE pgstac.items ALTER COLUMN geometry DROP NOT NULL;
