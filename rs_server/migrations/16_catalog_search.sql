-- A page of items, straight from the rows: pgstac builds the condition and the order, the rest is one statement.
-- pgstac's own search() writes a row for each search, hydrates each item in PL/pgSQL, remembers counts for a day, and
-- finds the next page by reading the last item again, which need not be there any more.

-- How a request orders its items: for each key its expression, whether it goes down, and whether it may be null.
CREATE OR REPLACE FUNCTION rs.item_order(request jsonb)
RETURNS TABLE (expression text, falls boolean, nullable boolean) LANGUAGE plpgsql STABLE
SET search_path TO pgstac, public AS $$
BEGIN
    IF request->'sortby' IS NULL THEN  -- most searches: the newest first, found without looking up what may be sorted on
        RETURN QUERY VALUES ('datetime', true, false), ('collection', true, false), ('id', true, false);
        RETURN;
    END IF;
    RETURN QUERY SELECT
        (queryable(key->>'field', to_text_array(request->'collections'))).expression,
        parse_sort_dir(key->>'direction') = 'DESC',
        queryable_column(key->>'field') IS NULL
    FROM jsonb_array_elements(sortby_with_tiebreakers(request->'sortby')) WITH ORDINALITY AS t (key, n)
    ORDER BY n;
END
$$;

-- The condition for items that are called one of some names: their ids, or ids that they have elsewhere, which are told
-- as `value` or as `scheme:value`.
CREATE INDEX IF NOT EXISTS items_external_ids ON pgstac.items
    USING gin ((content->'properties'->'externalIds') jsonb_path_ops) WHERE content->'properties' ? 'externalIds';

CREATE OR REPLACE FUNCTION rs.item_called(names text[]) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT format(
        $q$(id = ANY (%L) OR content->'properties' ? 'externalIds'
            AND content->'properties'->'externalIds' @> ANY (%L::jsonb[]))$q$,
        names,
        ARRAY(
            SELECT jsonb_build_array(jsonb_build_object('value', name)) FROM unnest(names) name
            UNION ALL
            SELECT jsonb_build_array(jsonb_build_object(
                'scheme', split_part(name, ':', 1), 'value', substr(name, strpos(name, ':') + 1)))
            FROM unnest(names) name WHERE strpos(name, ':') > 0
        )
    )
$$;

-- The condition for what comes after a place, or before it. A place is the value of each key as a text, null for null.
-- Nulls are the last going up and the first going down, as PostgreSQL has it.
CREATE OR REPLACE FUNCTION rs.beyond(expressions text[], falls boolean[], nullable boolean[], place text[])
RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    beyond text;
    same text := '';
    ways text[] := '{}';
    edge text;
BEGIN
    IF cardinality(place) IS DISTINCT FROM cardinality(expressions) THEN
        RAISE EXCEPTION 'the token is not of this search';
    END IF;
    FOR i IN 1 .. cardinality(expressions) LOOP
        beyond := CASE
            WHEN place[i] IS NULL AND falls[i] THEN format('%s IS NOT NULL', expressions[i])
            WHEN place[i] IS NULL THEN 'false'
            WHEN falls[i] THEN format('%s < %L', expressions[i], place[i])
            WHEN nullable[i] THEN format('(%s > %L OR %1$s IS NULL)', expressions[i], place[i])
            ELSE format('%s > %L', expressions[i], place[i])
        END;
        ways := ways || format('(%s%s)', same, beyond);
        same := same || CASE
            WHEN place[i] IS NULL THEN format('%s IS NULL AND ', expressions[i])
            ELSE format('%s = %L AND ', expressions[i], place[i])
        END;
    END LOOP;
    -- implied by the rest, and something that an index can begin at
    edge := CASE
        WHEN place[1] IS NULL OR nullable[1] AND NOT falls[1] THEN 'true'
        ELSE format('%s %s %L', expressions[1], CASE WHEN falls[1] THEN '<=' ELSE '>=' END, place[1])
    END;
    RETURN format('%s AND (%s)', edge, array_to_string(ways, ' OR '));
END
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
        concat_ws(' AND ', condition, CASE WHEN place IS NOT NULL
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

-- The condition of a search as SQL, for what is made of the items that match rather than of a page of them.
CREATE OR REPLACE FUNCTION rs.item_condition(request jsonb, names text[]) RETURNS text LANGUAGE sql STABLE
SET search_path TO pgstac, public AS $$
    SELECT concat_ws(' AND ', stac_search_to_where(request), rs.item_called(names))
$$;
