"""Dask Gateway reads this file; what it should be is in rs_hub/configure.py, with which values in RS_HUB_SETTINGS."""

from rs_hub.configure import configure_gateway
from rs_hub.settings import load

configure_gateway(c, load())
