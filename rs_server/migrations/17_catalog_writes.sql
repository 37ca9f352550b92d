-- How writers of the catalog keep out of each other's way, and what they leave to be deleted.

-- Files whose item is gone, or names them no more. They are noted where that is done, in the same transaction, and
-- deleted after it: an item never names a file that is not there, and no file is forgotten.
CREATE TABLE IF NOT EXISTS rs.doomed_files (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection  text NOT NULL,
    item        text NOT NULL,
    address     text NOT NULL,                      -- s3://bucket/key of an object, or of a product of many
    marked      timestamptz NOT NULL DEFAULT clock_timestamp(),  -- what is written later at the same place stays
    due         timestamptz NOT NULL DEFAULT now(),
    attempts    integer NOT NULL DEFAULT 0
);

CREATE INDEX IF NOT EXISTS doomed_files_due ON rs.doomed_files (due);
CREATE INDEX IF NOT EXISTS doomed_files_item ON rs.doomed_files (collection, item);

-- pgstac replaces an item by deleting and inserting it, so a row lock would wait for a row that is gone then. Whoever
-- changes an item holds its lock until the end of the transaction; whoever replaces many holds the collection's alone.
CREATE OR REPLACE FUNCTION rs.lock_item(collection text, item text) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock_shared(hashtextextended('collection:' || collection, 0));
    SELECT pg_advisory_xact_lock(hashtextextended('item:' || collection || '/' || item, 0));
$$;

CREATE OR REPLACE FUNCTION rs.lock_items(collection text) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('collection:' || collection, 0));
$$;

CREATE OR REPLACE FUNCTION rs.share_items(collection text) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock_shared(hashtextextended('collection:' || collection, 0));
$$;

-- Note the files of items for deletion: of those with these ids, or of all in the collection where ids are null.
CREATE OR REPLACE FUNCTION rs.doom_files(of_collection text, ids text[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO rs.doomed_files (collection, item, address)
    SELECT i.collection, i.id, asset.value->>'href'
    FROM pgstac.items i, jsonb_each(i.content->'assets') asset
    WHERE i.collection = of_collection AND (ids IS NULL OR i.id = ANY (ids)) AND asset.value->>'href' ^@ 's3://';
$$;

-- Items by their end, for those that have one and are still there.
CREATE INDEX IF NOT EXISTS items_expiry ON pgstac.items (pgstac.to_tstz(content->'properties'->'expires'))
    WHERE content->'properties' ? 'expires' AND NOT content->'properties' ? 'unpublished';

-- Add items of one collection, or with `replacing` add or replace them, as rows that are whole already: pgstac's own
-- way in takes them apart in PL/pgSQL, which costs more than all the rest. The same rules hold: the partitions are made
-- first, ids are unique, replaced items are deleted before.
CREATE OR REPLACE FUNCTION rs.add_items(
    of_collection text, ids text[], shapes bytea[], begins timestamptz[], ends timestamptz[], contents text[],
    replacing boolean
) RETURNS void LANGUAGE plpgsql SET search_path TO pgstac, public SET timezone TO 'UTC' AS $$
BEGIN
    PERFORM check_partition(of_collection, span.begins, span.ends) FROM (
        SELECT tstzrange(min(t.b), max(t.b), '[]') AS begins, tstzrange(min(t.e), max(t.e), '[]') AS ends
        FROM unnest(begins, ends) AS t (b, e), collections c
        WHERE c.id = of_collection
        GROUP BY coalesce(date_trunc(c.partition_trunc, t.b), '-infinity')
        ORDER BY min(t.b)  -- every writer takes the locks of partitions in the same order
    ) span;
    IF replacing THEN
        DELETE FROM items WHERE collection = of_collection AND id = ANY (ids);
    END IF;
    INSERT INTO items (id, geometry, collection, datetime, end_datetime, content)
    SELECT t.id, ST_SetSRID(ST_GeomFromWKB(t.shape), 4326), of_collection, t.b, t.e, t.content::jsonb
    FROM unnest(ids, shapes, begins, ends, contents) AS t (id, shape, b, e, content);
END
$$;
