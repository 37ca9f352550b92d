-- What has been over for how long.

CREATE INDEX IF NOT EXISTS jobs_finished ON rs.jobs (finished) WHERE finished IS NOT NULL;
