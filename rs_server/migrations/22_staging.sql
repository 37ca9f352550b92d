-- Staging: the items that a job carries, their files, and the parts of large files that are in the object storage already.

CREATE TABLE rs.staging_items (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job         uuid NOT NULL REFERENCES rs.jobs ON DELETE CASCADE,
    service     text NOT NULL,
    collection  text NOT NULL,
    item        text NOT NULL,
    document    jsonb NOT NULL,                     -- the item as its source has it
    state       text NOT NULL CHECK (state IN
                ('growing', 'carrying', 'whole', 'published', 'skipped', 'failed', 'gone')),
    reason      text,
    grown       timestamptz NOT NULL DEFAULT now(), -- when a file was last added to it
    UNIQUE (job, item)                              -- it becomes one item of the collection
);

CREATE INDEX staging_items_state ON rs.staging_items (job, state, id);

CREATE TABLE rs.transfers (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job         uuid NOT NULL REFERENCES rs.jobs ON DELETE CASCADE,
    item        bigint NOT NULL REFERENCES rs.staging_items ON DELETE CASCADE,
    owner       text NOT NULL,
    station     text NOT NULL,                      -- '' for files of our own object storage
    priority    smallint NOT NULL,
    name        text NOT NULL,
    asset       jsonb NOT NULL,
    key         text NOT NULL,
    size        bigint NOT NULL,
    checksum    text,                               -- as the station names it: a multihash in hexadecimal
    state       text NOT NULL DEFAULT 'waiting' CHECK (state IN
                ('waiting', 'paused', 'ordered', 'running', 'done', 'failed', 'gone', 'cancelled')),
    reason      text,
    fence       integer NOT NULL DEFAULT 0,         -- each carrier that takes it up counts; older ones are void
    lease_until timestamptz,
    lane        uuid,                               -- small files that share one connection share a lane
    width       smallint NOT NULL DEFAULT 1,        -- connections to the station
    not_before  timestamptz,
    tries       integer NOT NULL DEFAULT 0,         -- failures since it last came on
    wrong       integer NOT NULL DEFAULT 0,         -- how often the bytes were not those announced
    stuck_since timestamptz,
    bytes_done  bigint NOT NULL DEFAULT 0,
    rate        double precision,
    upload      text,                               -- of the multipart upload under way
    part_size   integer,
    validator   text,                               -- ETag or date of the bytes that the parts are of
    ranges      boolean NOT NULL DEFAULT true,      -- false once the station ignored one
    digest      text,                               -- of the bytes carried: a multihash
    swept       boolean NOT NULL DEFAULT false,
    UNIQUE (item, name)
);

CREATE INDEX transfers_job ON rs.transfers (job, state) INCLUDE (bytes_done, size);
CREATE INDEX transfers_waiting ON rs.transfers (job, station, id) WHERE state = 'waiting';
CREATE INDEX transfers_running ON rs.transfers (lease_until) WHERE state = 'running';
CREATE INDEX transfers_paused ON rs.transfers (not_before) WHERE state = 'paused';
CREATE INDEX transfers_uploads ON rs.transfers (id) WHERE upload IS NOT NULL;
CREATE INDEX transfers_key ON rs.transfers (key);

CREATE TABLE rs.parts (
    transfer    bigint NOT NULL REFERENCES rs.transfers ON DELETE CASCADE,
    number      integer NOT NULL,                   -- from 1, as S3 counts
    etag        text NOT NULL,
    PRIMARY KEY (transfer, number)
);

-- How the stations are, as all workers together have met them, and the paces that all of them keep.
CREATE TABLE rs.stations (
    name         text PRIMARY KEY,
    failures     integer NOT NULL DEFAULT 0,
    down_since   timestamptz,
    closed_until timestamptz,
    reason       text,
    next_request timestamptz,
    next_byte    timestamptz
);

CREATE TABLE rs.staging_totals (                    -- for the counters of the metrics: they never fall
    station     text NOT NULL,
    outcome     text NOT NULL,
    files       bigint NOT NULL DEFAULT 0,
    bytes       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (station, outcome)
);

-- Objects that an edition published since has taken the place of; deleted when they are due, unless they are in use.
CREATE TABLE rs.leftovers (
    key         text PRIMARY KEY,
    collection  text NOT NULL,
    item        text NOT NULL,
    due         timestamptz NOT NULL
);

CREATE INDEX leftovers_due ON rs.leftovers (due);

-- Standing orders: stage every new item that a search finds.
CREATE TABLE rs.subscriptions (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner       text NOT NULL,
    principal   jsonb NOT NULL,
    service     text NOT NULL,
    search      jsonb NOT NULL,
    options     jsonb NOT NULL,                     -- the other inputs of each staging job
    since       timestamptz NOT NULL,               -- publication from which on items are wanted
    cursor      timestamptz NOT NULL,               -- publication up to which all were seen
    jobs        integer NOT NULL DEFAULT 0,
    looked      timestamptz,
    next_look   timestamptz NOT NULL DEFAULT now(),
    reason      text,                               -- why the last look failed
    created     timestamptz NOT NULL DEFAULT now(),
    ended       timestamptz
);

CREATE INDEX subscriptions_due ON rs.subscriptions (next_look) WHERE ended IS NULL;
CREATE INDEX subscriptions_owner ON rs.subscriptions (owner, created DESC);

CREATE TABLE rs.subscription_items (
    subscription uuid NOT NULL REFERENCES rs.subscriptions ON DELETE CASCADE,
    collection   text NOT NULL,
    item         text NOT NULL,
    job          uuid NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subscription, collection, item)
);
