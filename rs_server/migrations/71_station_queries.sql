-- When a station may be asked next, by any of the processes that keep its pace together.

ALTER TABLE rs.stations ADD COLUMN IF NOT EXISTS next_query timestamptz;
