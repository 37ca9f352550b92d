-- What the sweep looks for; and of standing orders, which items were noted together, to be asked for as one job.

CREATE INDEX IF NOT EXISTS transfers_unswept ON rs.transfers (job) WHERE NOT swept AND fence > 0;

ALTER TABLE rs.subscription_items ADD COLUMN IF NOT EXISTS batch uuid NOT NULL DEFAULT gen_random_uuid();
ALTER TABLE rs.subscription_items ADD COLUMN IF NOT EXISTS service text NOT NULL DEFAULT 'cadip';
ALTER TABLE rs.subscription_items ADD COLUMN IF NOT EXISTS reason text;
ALTER TABLE rs.subscription_items ALTER COLUMN job DROP NOT NULL;

CREATE INDEX IF NOT EXISTS subscription_items_pending ON rs.subscription_items (subscription, batch)
    WHERE job IS NULL AND reason IS NULL;
