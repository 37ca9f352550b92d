"""Stations as real OData servers, for the local platform and the tests."""
