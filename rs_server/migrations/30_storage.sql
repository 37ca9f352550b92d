-- Keys to parts of the object storage that were handed out. Their secrets are kept nowhere.

CREATE TABLE rs.storage_credentials (
    name        text PRIMARY KEY,                       -- the user made for them at the storage's IAM service
    login       text NOT NULL,                          -- on whose behalf
    purpose     text NOT NULL,
    read        text[] NOT NULL,                        -- prefixes
    write       text[] NOT NULL,
    created     timestamptz NOT NULL DEFAULT now(),
    expires     timestamptz NOT NULL,
    revoked     timestamptz
);

CREATE INDEX storage_credentials_due ON rs.storage_credentials (expires) WHERE revoked IS NULL;
