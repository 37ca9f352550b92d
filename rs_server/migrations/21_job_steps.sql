-- Jobs that are worked in steps: between two of them nobody holds the job, and what it waits for is told.

ALTER TABLE rs.jobs
    ADD COLUMN version       bigint NOT NULL DEFAULT 0,     -- grows with every change that a watcher may see
    ADD COLUMN held_until    timestamptz,                   -- the lease of the attempt that works it now; NULL: nobody does
    ADD COLUMN wake          timestamptz,                   -- when it wants its next step
    ADD COLUMN tries         integer NOT NULL DEFAULT 0,    -- attempts since it last came to the end of a step
    ADD COLUMN files_failed  integer NOT NULL DEFAULT 0,
    ADD COLUMN files_running integer NOT NULL DEFAULT 0,
    ADD COLUMN rate          double precision,              -- bytes per second, over the last seconds
    ADD COLUMN waiting       text,                          -- what it waits for, in plain words
    ADD COLUMN report        jsonb,                         -- what became of each thing that was asked for
    ADD COLUMN trace         text;                          -- W3C traceparent of the request that made it

UPDATE rs.jobs SET tries = attempt;

DROP INDEX rs.jobs_unfinished;
CREATE INDEX jobs_unfinished ON rs.jobs (wake, held_until) WHERE status IN ('accepted', 'running');
CREATE INDEX jobs_process ON rs.jobs (process, created DESC, id DESC);

CREATE FUNCTION rs.job_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (new.status, new.message, new.progress, new.bytes_done, new.bytes_total, new.files_done, new.files_total,
        new.files_failed, new.files_running, new.rate, new.waiting)
       IS DISTINCT FROM
       (old.status, old.message, old.progress, old.bytes_done, old.bytes_total, old.files_done, old.files_total,
        old.files_failed, old.files_running, old.rate, old.waiting)
    THEN
        new.version := old.version + 1;
        new.updated := now();
        PERFORM pg_notify('rs_jobs', new.id::text);
    END IF;
    RETURN new;
END
$$;

CREATE TRIGGER jobs_changed BEFORE UPDATE ON rs.jobs FOR EACH ROW EXECUTE FUNCTION rs.job_changed();
