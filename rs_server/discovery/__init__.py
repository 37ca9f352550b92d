"""One search over all stations and the catalog."""
