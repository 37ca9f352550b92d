"""The services of RS-Python: stations, catalog, staging and processing behind one access policy."""
