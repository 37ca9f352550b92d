-- What was asked for, how far it is, and how it ended. The queue that works the jobs has tables of its own.

CREATE TABLE rs.jobs (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    process         text NOT NULL,
    status          text NOT NULL DEFAULT 'accepted'
                    CHECK (status IN ('accepted', 'running', 'successful', 'failed', 'dismissed')),
    owner           text NOT NULL,                      -- login
    principal       jsonb NOT NULL,                     -- who asked, with the roles held then
    request         jsonb NOT NULL,                     -- the inputs, checked and brought to one form
    idempotency_key text,
    message         text NOT NULL DEFAULT '',
    progress        smallint NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    bytes_done      bigint NOT NULL DEFAULT 0,
    bytes_total     bigint NOT NULL DEFAULT 0,
    files_done      integer NOT NULL DEFAULT 0,
    files_total     integer NOT NULL DEFAULT 0,
    attempt         integer NOT NULL DEFAULT 0,         -- each worker that takes the job up counts; older ones are void
    memory          jsonb NOT NULL DEFAULT '{}',        -- what an attempt leaves for the next one, e.g. its cluster
    outputs         jsonb,
    problem         jsonb,
    created         timestamptz NOT NULL DEFAULT now(),
    started         timestamptz,
    finished        timestamptz,
    updated         timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX jobs_idempotency ON rs.jobs (owner, process, idempotency_key);
CREATE INDEX jobs_owner ON rs.jobs (owner, created DESC, id DESC);
CREATE INDEX jobs_created ON rs.jobs (created DESC, id DESC);
CREATE INDEX jobs_unfinished ON rs.jobs (updated) WHERE status IN ('accepted', 'running');

CREATE TABLE rs.job_log (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job     uuid NOT NULL REFERENCES rs.jobs ON DELETE CASCADE,
    at      timestamptz NOT NULL DEFAULT now(),
    line    text NOT NULL
);

CREATE INDEX job_log_job ON rs.job_log (job, id);
