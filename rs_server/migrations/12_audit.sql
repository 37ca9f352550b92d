-- The record says about which collection something was done, so that its owner can read it, and in which trace.

ALTER TABLE rs.audit ADD COLUMN collection text, ADD COLUMN trace_id text;

CREATE INDEX audit_collection ON rs.audit (split_part(collection, '_', 1), id);
CREATE INDEX audit_login ON rs.audit (login, id);
