-- Products that were ordered from long-term archives. A product is ordered once, whoever asks for it.

CREATE TABLE rs.orders (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    service         text NOT NULL,
    station         text NOT NULL,
    collection      text NOT NULL,
    item            text NOT NULL,
    product         text NOT NULL,                      -- the station's key of the product
    owners          text[] NOT NULL,                    -- logins; the first one asked first, and it counts for them
    status          text NOT NULL DEFAULT 'waiting'
                    CHECK (status IN ('waiting', 'sending', 'queued', 'in_progress', 'completed', 'failed', 'cancelled')),
    reason          text NOT NULL DEFAULT '',           -- why it waits, failed, or was not needed
    station_order   text,                               -- the station's key of the order, once it took it
    created         timestamptz NOT NULL DEFAULT now(),
    updated         timestamptz NOT NULL DEFAULT now(),
    due             timestamptz NOT NULL DEFAULT now(), -- when to send it, or to ask how far it is
    estimated       timestamptz,
    completed       timestamptz,
    expires         timestamptz                         -- until then the product stays online
);

CREATE UNIQUE INDEX orders_alive ON rs.orders (station, product)
    WHERE status IN ('waiting', 'sending', 'queued', 'in_progress');
CREATE INDEX orders_due ON rs.orders (station, due) WHERE status IN ('waiting', 'sending', 'queued', 'in_progress');
CREATE INDEX orders_product ON rs.orders (station, product, created);
CREATE INDEX orders_owners ON rs.orders USING gin (owners);
