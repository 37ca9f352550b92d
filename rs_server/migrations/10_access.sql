-- Who has keys, and what was done by whom.

CREATE TABLE rs.api_keys (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    digest      bytea NOT NULL UNIQUE,              -- SHA-256 of the key; the key itself is shown once and kept nowhere
    name        text NOT NULL,
    owner       text NOT NULL,                      -- login
    subject     text NOT NULL,                      -- the owner's lasting id at the issuer
    created     timestamptz NOT NULL DEFAULT now(),
    created_by  text NOT NULL,
    expires     timestamptz NOT NULL,
    revoked     timestamptz,
    last_used   timestamptz
);

CREATE INDEX api_keys_owner ON rs.api_keys (owner);

CREATE TABLE rs.audit (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    login       text NOT NULL,
    subject     text NOT NULL,
    action      text NOT NULL,
    object      text NOT NULL,
    result      text NOT NULL,
    request_id  text,
    details     jsonb NOT NULL DEFAULT '{}'
);

CREATE INDEX audit_object ON rs.audit (object, at);

CREATE FUNCTION rs.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME;
END
$$;

CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON rs.audit
    FOR EACH STATEMENT EXECUTE FUNCTION rs.refuse_change();
