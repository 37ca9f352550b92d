"""Station proxies: one OData → STAC engine, one description for each kind of station."""
