-- Which workers a job waits for, and the job that asked for it.

ALTER TABLE rs.jobs ADD COLUMN IF NOT EXISTS queue text NOT NULL DEFAULT 'jobs';
ALTER TABLE rs.jobs ADD COLUMN IF NOT EXISTS parent uuid REFERENCES rs.jobs;

CREATE INDEX IF NOT EXISTS jobs_parent ON rs.jobs (parent) WHERE parent IS NOT NULL;
