-- The lines that files wait in, one for each job and station, so that a claim looks at their heads and not at the files.

ALTER TABLE rs.transfers ADD COLUMN IF NOT EXISTS expires timestamptz;  -- when its source takes the file away

CREATE TABLE IF NOT EXISTS rs.lines (
    job         uuid NOT NULL,              -- no foreign key: whoever adds files must not wait for who holds the job
    station     text NOT NULL,
    owner       text NOT NULL,
    priority    smallint NOT NULL,
    since       timestamptz NOT NULL,       -- when the job was made
    expires     timestamptz,                -- of the file that has least time
    version     bigint NOT NULL DEFAULT 0,  -- grows whenever files join: a line is taken away only as it was looked at
    PRIMARY KEY (job, station)
);

CREATE INDEX IF NOT EXISTS lines_turn ON rs.lines (owner, station, priority DESC, since, job);
CREATE INDEX IF NOT EXISTS lines_expire ON rs.lines (owner, station, expires) WHERE expires IS NOT NULL;

CREATE OR REPLACE FUNCTION rs.stand_in_line() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO rs.lines AS mine (job, station, owner, priority, since, expires)
    SELECT w.job, w.station, w.owner, w.priority, j.created, w.expires
    FROM (SELECT job, station, min(owner) AS owner, max(priority) AS priority, min(expires) AS expires
          FROM changed WHERE state = 'waiting' GROUP BY job, station ORDER BY job, station) AS w
    JOIN rs.jobs j ON j.id = w.job
    ON CONFLICT (job, station) DO UPDATE
    SET version = mine.version + 1, expires = least(mine.expires, excluded.expires);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER transfers_added AFTER INSERT ON rs.transfers
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION rs.stand_in_line();
CREATE OR REPLACE TRIGGER transfers_changed AFTER UPDATE ON rs.transfers
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION rs.stand_in_line();

INSERT INTO rs.lines (job, station, owner, priority, since)
SELECT t.job, t.station, min(t.owner), max(t.priority), min(j.created)
FROM rs.transfers t JOIN rs.jobs j ON j.id = t.job WHERE t.state = 'waiting' GROUP BY t.job, t.station
ON CONFLICT DO NOTHING;

-- Leases and progress are written often: no index names them, and pages keep room, so that no index changes with them.
ALTER TABLE rs.transfers SET (fillfactor = 80);
DROP INDEX IF EXISTS rs.transfers_waiting, rs.transfers_running, rs.transfers_job;
CREATE INDEX transfers_waiting ON rs.transfers (job, station, expires, id) WHERE state = 'waiting';
CREATE INDEX transfers_running ON rs.transfers (lane) WHERE state = 'running';
CREATE INDEX transfers_job ON rs.transfers (job, state);
