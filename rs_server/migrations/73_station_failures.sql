-- When a station failed last: a fault that is older than the time it is left alone for is another one.
ALTER TABLE rs.stations ADD COLUMN IF NOT EXISTS failed_at timestamptz;
