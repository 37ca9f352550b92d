"""Object storage: where files land, and who may reach them there."""
