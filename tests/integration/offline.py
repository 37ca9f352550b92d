"""Runs a command-line validator whose schemas come from a folder: ``python -m tests.integration.offline MODULE ARGS…``.

The validators fetch the public JSON schemas of STAC while they work; here what they ask https addresses for is
answered from the folder of ``tests.schemas``, and everything else goes where it is sent.
"""

from __future__ import annotations

import io
import runpy
import sys
from typing import Any

import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from tests.schemas import ROOT


class Folder(BaseAdapter):
    """Answers with the file that lies at the address without its scheme."""

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """The file, or 404."""
        address = str(request.url).partition("://")[2].partition("#")[0].partition("?")[0]
        file = ROOT / address
        answer = requests.Response()
        answer.url, answer.request = str(request.url), request
        answer.status_code = 200 if file.is_file() else 404
        answer.raw = io.BytesIO(file.read_bytes() if file.is_file() else b"{}")
        if answer.status_code == 404:
            sys.stderr.write(f"no schema {address}\n")
        return answer

    def close(self) -> None:
        """Nothing is open."""


def _adapter(_session: requests.Session, url: str) -> BaseAdapter:
    return Folder() if url.startswith("https://") else HTTPAdapter()


if __name__ == "__main__":
    requests.Session.get_adapter = _adapter  # type: ignore[assignment, method-assign]
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
