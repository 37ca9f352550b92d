"""JupyterHub reads this file; what it should be is in rs_hub/configure.py, with which values in RS_HUB_SETTINGS."""

from rs_hub.configure import configure_hub
from rs_hub.settings import load

configure_hub(c, load())
