-- Who of an order's owners placed it by hand: one that staging placed for a job is withdrawn with the job.

ALTER TABLE rs.orders ADD COLUMN IF NOT EXISTS by_hand text[] NOT NULL DEFAULT '{}';
ALTER TABLE rs.orders ADD COLUMN IF NOT EXISTS withdrawn boolean NOT NULL DEFAULT false;  -- cancelled with its job
UPDATE rs.orders SET by_hand = owners WHERE by_hand = '{}';  -- nobody knows of those from before
