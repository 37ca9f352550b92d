"""The Python client of RS-Python."""
