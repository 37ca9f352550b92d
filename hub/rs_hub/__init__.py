"""JupyterHub, Dask Gateway and the token service as RS-Python configures them."""
