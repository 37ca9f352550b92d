-- Keys may be narrowed to scopes, and those of service accounts may live until they are revoked.

ALTER TABLE rs.api_keys ADD COLUMN scopes text[], ALTER COLUMN expires DROP NOT NULL;

CREATE TRIGGER api_keys_made AFTER INSERT OR DELETE OR TRUNCATE ON rs.api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION rs.tell_access_changed();
CREATE TRIGGER api_keys_revoked AFTER UPDATE OF revoked ON rs.api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION rs.tell_access_changed();
