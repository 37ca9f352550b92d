-- What standing orders and orders have been over with for long is forgotten; an order still tells how much it was.

ALTER TABLE rs.subscriptions ADD COLUMN IF NOT EXISTS forgotten integer NOT NULL DEFAULT 0;
CREATE INDEX IF NOT EXISTS subscription_items_at ON rs.subscription_items (at);
CREATE INDEX IF NOT EXISTS orders_over ON rs.orders (updated) WHERE status IN ('completed', 'failed', 'cancelled');
