-- What a claim asks before anything else, in one question: each that waits for its answer holds up all other claims.

CREATE OR REPLACE FUNCTION rs.turns(lock bigint, soon interval, most integer)
RETURNS TABLE (
    what        text,     -- a 'line' whose turn it may be, who is 'busy', or a 'station' that is or was left alone
    job         uuid,
    owner       text,
    station     text,
    priority    integer,
    urgent      boolean,  -- of a line: its source is about to take files away
    version     bigint,   -- of a line: as it was looked at
    open        boolean,  -- of a line: its job has not ended; of a station: it may be asked again
    connections integer   -- of who is busy
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    -- One at a time. Each statement below sees what those before wrote, for it begins when the lock is held.
    PERFORM pg_advisory_xact_lock(lock);

    -- Up to ``most`` lines of each user at each station, by one step along an index for each of these.
    RETURN QUERY
    WITH RECURSIVE place AS (
        (SELECT owner, station FROM rs.lines ORDER BY owner, station LIMIT 1)
        UNION ALL
        SELECT next.* FROM place, LATERAL (
            SELECT owner, station FROM rs.lines WHERE (owner, station) > (place.owner, place.station)
            ORDER BY owner, station LIMIT 1
        ) AS next
    ), head AS (
        SELECT l.*, true AS urgent FROM place, LATERAL (
            SELECT * FROM rs.lines WHERE owner = place.owner AND station = place.station AND expires < now() + soon
            ORDER BY expires LIMIT most
        ) AS l
        UNION ALL
        SELECT l.*, false AS urgent FROM place, LATERAL (
            SELECT * FROM rs.lines WHERE owner = place.owner AND station = place.station
            ORDER BY priority DESC, since, job LIMIT most
        ) AS l
    )
    SELECT DISTINCT ON (head.since, head.job, head.station) 'line', head.job, head.owner, head.station,
        head.priority::integer, head.urgent, head.version, j.status IS NOT NULL, NULL::integer
    FROM head LEFT JOIN rs.jobs j ON j.id = head.job AND j.status IN ('accepted', 'running')
    ORDER BY head.since, head.job, head.station, head.urgent DESC;

    -- The connections in use: one step along an index for each lane, however many files it has. A file that has no
    -- lane any more is fetched, and only its last parts are on their way into the object storage.
    RETURN QUERY
    WITH RECURSIVE each AS (
        (SELECT lane, job, owner, station, width FROM rs.transfers
         WHERE state = 'running' AND lane IS NOT NULL ORDER BY lane LIMIT 1)
        UNION ALL
        SELECT next.* FROM each, LATERAL (
            SELECT lane, job, owner, station, width FROM rs.transfers
            WHERE state = 'running' AND lane > each.lane ORDER BY lane LIMIT 1
        ) AS next
    )
    SELECT 'busy', each.job, each.owner, each.station, NULL::integer, NULL::boolean, NULL::bigint, NULL::boolean,
        sum(each.width)::integer
    FROM each GROUP BY each.job, each.owner, each.station;

    RETURN QUERY
    SELECT 'station', NULL::uuid, NULL::text, name, NULL::integer, NULL::boolean, NULL::bigint, closed_until <= now(),
        NULL::integer
    FROM rs.stations WHERE closed_until IS NOT NULL;
END
$$;
