"""Data processing: eopf units run on Dask clusters, their products published in the catalog."""
