-- Items that wait for an order, by the order.

CREATE INDEX IF NOT EXISTS staging_items_archive_order ON rs.staging_items (archive_order)
    WHERE archive_order IS NOT NULL;
