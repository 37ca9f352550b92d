"""Probes: ready means an answer with the right content, not an open port."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from rs_platform.ports import free_port
from rs_platform.probes import Both, Heartbeat, Http, Query


class Answers(BaseHTTPRequestHandler):
    """Answers /up and /broken."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/up" else 500)
        self.end_headers()
        self.wfile.write(b'{"status": "UP"}' if self.path == "/up" else b"no")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("/up", '"UP"', 200, None),
        ("/up", '"DOWN"', 200, "answers 200"),
        ("/broken", "no", 200, "answers 500"),
        ("/broken", "no", 500, None),
    ],
)
def test_http(server: str, path: str, body: str, status: int, reason: str | None) -> None:
    found = Http(f"{server}{path}", body, status).check()
    assert (found is None) if reason is None else (found is not None and reason in found)


def test_nobody_listens() -> None:
    found = Http(f"http://127.0.0.1:{free_port()}/", "").check()
    assert found is not None
    assert "does not answer" in found


def test_no_database() -> None:
    found = Query(f"postgresql://rs:hidden@127.0.0.1:{free_port()}/rs").check()
    assert found is not None
    assert found.startswith("PostgreSQL:")
    assert "hidden" not in found


def test_heartbeat(tmp_path: Path) -> None:
    file = tmp_path / "beat"
    assert Heartbeat(file).check() == "no sign of life yet"
    file.touch()
    at = file.stat().st_mtime
    assert Heartbeat(file, max_age_s=20, now=lambda: at + 19).check() is None
    assert Heartbeat(file, max_age_s=20, now=lambda: at + 21).check() == "no sign of life for 21 s"


def test_both_must_be_content(server: str) -> None:
    good, bad = Http(f"{server}/up", "UP"), Http(f"{server}/broken", "UP")
    assert Both(good, good).check() is None
    assert Both(good, bad).check() is not None
    assert Both(bad, good).check() is not None
