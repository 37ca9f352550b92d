-- The pace of one user's bytes at a station, where its settings name one: kept by all workers together.

CREATE TABLE IF NOT EXISTS rs.user_paces (
    station     text NOT NULL,
    owner       text NOT NULL,
    next_byte   timestamptz NOT NULL,
    PRIMARY KEY (station, owner)
);
