-- Items of a time are found, and counted, by their spans: by begin and end alone, the items of a week in autumn are
-- looked for among all that began before its end, so counting them would take longer with every item of the year.

CREATE OR REPLACE FUNCTION rs.span(begins timestamptz, ends timestamptz) RETURNS tstzrange
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT tstzrange(least(begins, ends), greatest(begins, ends), '[]')  -- whichever way round a loader wrote them
$$;

CREATE INDEX IF NOT EXISTS items_spans ON pgstac.items USING gist (rs.span(datetime, end_datetime));

CREATE OR REPLACE FUNCTION rs.item_condition(request jsonb, names text[]) RETURNS text LANGUAGE sql STABLE
SET search_path TO pgstac, public AS $$
    SELECT concat_ws(
        ' AND ',
        stac_search_to_where(request - 'datetime'),
        'rs.span(datetime, end_datetime) && ' || quote_literal(parse_dtrange(request->'datetime')) || '::tstzrange',
        rs.item_called(names)
    )
$$;

-- One page and, in a last row without an id, how many items match: exactly up to `counted`, beyond it an estimate.
-- `names`, if not null, are what the items are called; `place` is where the page begins; `backwards` turns the order
-- round. A row more than `wanted` says that there are more. The base item, which an item is stored without, comes with
-- the first row that needs it.
CREATE OR REPLACE FUNCTION rs.item_search(
    request jsonb, wanted integer, place text[], backwards boolean, counted integer, names text[]
)
RETURNS TABLE (
    collection text, id text, content jsonb, geometry text, base text, base_item text, place_here text[], version text,
    matched bigint
) LANGUAGE plpgsql SET search_path TO pgstac, public AS $$  -- not STABLE: those may not EXPLAIN
#variable_conflict use_column
DECLARE
    condition text := rs.item_condition(request, names);
    -- implied by the condition, and something that the index of the newest first can begin at
    edge text := 'datetime <= ' || quote_literal(upper(parse_dtrange(request->'datetime')));
    expressions text[];
    falls boolean[];
    nullable boolean[];
    ordering text;
    rows_found integer;
    found bigint;
    plan jsonb;
BEGIN
    SELECT array_agg(o.expression), array_agg(o.falls <> backwards), array_agg(o.nullable)
        INTO expressions, falls, nullable FROM rs.item_order(request) o;
    SELECT string_agg(concat(e, CASE WHEN f THEN ' DESC' ELSE ' ASC' END), ', ' ORDER BY n)
        INTO ordering FROM unnest(expressions, falls) WITH ORDINALITY AS t (e, f, n);
    RETURN QUERY EXECUTE format(
        $q$
        SELECT p.collection, p.id, p.content, ST_AsGeoJSON(p.geometry, 20), p.base,
            CASE WHEN row_number() OVER (PARTITION BY p.collection, p.base ORDER BY p.n) = 1
                 THEN collection_base_item(p.collection, p.base::integer)::text END,
            p.place_here, p.version, NULL::bigint
        FROM (
            SELECT row_number() OVER () AS n, page.* FROM (
                SELECT collection, id, content, geometry, content->>'pgstac:base_item' AS base,
                    ARRAY[%s] AS place_here, xmin::text AS version
                FROM items WHERE %s ORDER BY %s LIMIT %s
            ) page
        ) p ORDER BY p.n
        $q$,
        array_to_string(ARRAY(SELECT format('(%s)::text', e) FROM unnest(expressions) e), ', '),
        concat_ws(' AND ', condition, edge, CASE WHEN place IS NOT NULL
                  THEN rs.beyond(expressions, falls, nullable, place) END),
        ordering,
        wanted + 1
    );
    GET DIAGNOSTICS rows_found = ROW_COUNT;
    IF place IS NULL AND rows_found <= wanted THEN
        found := rows_found;
    ELSE
        EXECUTE format('SELECT count(*) FROM (SELECT FROM items WHERE %s LIMIT %s) t', condition, counted + 1)
            INTO found;
        IF found > counted THEN
            EXECUTE format('EXPLAIN (FORMAT json) SELECT FROM items WHERE %s', condition) INTO plan;
            found := greatest(found, (plan->0->'Plan'->>'Plan Rows')::bigint);
        END IF;
    END IF;
    RETURN QUERY SELECT NULL, NULL, NULL::jsonb, NULL, NULL, NULL, NULL::text[], NULL, found;
END
$$;
