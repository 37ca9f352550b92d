-- An order that was sent, but whose answer never came, may be at the station: it is looked for before it is sent again.

ALTER TABLE rs.orders
    ADD COLUMN tried timestamptz;   -- since when nobody knows whether the station has it; null: it has not
