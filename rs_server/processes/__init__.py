"""OGC API – Processes: one engine of durable jobs; it knows no process by name."""
