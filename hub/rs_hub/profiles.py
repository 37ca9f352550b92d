"""What kinds of server a user can start; a laptop offers one, a cluster adds images and sizes here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of server.

    ``landing_path`` is where a browser arrives, below the address of the server.
    """

    name: str
    title: str
    program: str
    landing_path: str


LOCAL = Profile(
    name="local",
    title="JupyterLab in the environment of this installation",
    program="jupyterhub-singleuser",
    landing_path="/lab/tree/notebooks",
)
