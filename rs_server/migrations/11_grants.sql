-- What the owners of collections give to others, without an administrator.

CREATE TABLE rs.grants (
    collection  text NOT NULL REFERENCES pgstac.collections (id) ON DELETE CASCADE,  -- a new one of that id starts alone
    kind        text NOT NULL CHECK (kind IN ('user', 'group')),
    name        text NOT NULL,                          -- login, or the group's name
    rights      text[] NOT NULL CHECK (rights <@ ARRAY['read', 'download', 'write'] AND rights <> '{}'),
    until       timestamptz,                            -- NULL: until it is revoked
    granted     timestamptz NOT NULL DEFAULT now(),
    granted_by  text NOT NULL,
    PRIMARY KEY (collection, kind, name)
);

CREATE INDEX grants_to ON rs.grants (kind, name);

-- The servers remember what they read, and are told here when it is no longer so.
CREATE FUNCTION rs.tell_access_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('rs_access', TG_TABLE_NAME);
    RETURN NULL;
END
$$;

CREATE TRIGGER grants_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON rs.grants
    FOR EACH STATEMENT EXECUTE FUNCTION rs.tell_access_changed();
