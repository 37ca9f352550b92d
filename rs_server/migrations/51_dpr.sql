-- What a processing job was prepared to do, and what it has made so far.

CREATE TABLE IF NOT EXISTS rs.dpr_runs (
    job         uuid PRIMARY KEY REFERENCES rs.jobs ON DELETE CASCADE,
    prepared    timestamptz NOT NULL DEFAULT now(),
    plan        jsonb NOT NULL,                     -- inputs chosen and why, sizes, cluster, outputs
    orders      jsonb NOT NULL,                     -- one for each product: the eopf triggering payload, and what it reads
    made        jsonb NOT NULL DEFAULT '{}'         -- by product: what the processor answered
);
