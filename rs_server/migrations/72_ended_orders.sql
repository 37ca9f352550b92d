-- What orders, of archives and standing ones, have been over with for long is forgotten; and jobs that are over leave their
-- orders, which are found by the items that wait for them.

CREATE INDEX IF NOT EXISTS staging_items_archive_order ON rs.staging_items (archive_order)
    WHERE archive_order IS NOT NULL;
CREATE INDEX IF NOT EXISTS orders_over ON rs.orders (updated) WHERE status IN ('completed', 'failed', 'cancelled');

ALTER TABLE rs.subscriptions ADD COLUMN IF NOT EXISTS forgotten integer NOT NULL DEFAULT 0;  -- of the items it has found
CREATE INDEX IF NOT EXISTS subscription_items_at ON rs.subscription_items (at);
