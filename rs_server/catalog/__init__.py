"""The STAC catalog: stac-fastapi-pgstac behind the access policy."""
