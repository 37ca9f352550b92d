"""What a person meets first: one OpenAPI over all services, documentation, login, health."""
