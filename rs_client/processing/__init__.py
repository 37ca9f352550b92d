"""Processing units: from what a satellite sent down to open products."""
