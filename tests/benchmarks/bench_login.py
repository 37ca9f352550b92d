"""Measures how long login → notebook ready takes at the hub, against a bare ``jupyter lab``, in one run.

Both ways end when JupyterLab has the tutorial open and its kernel is idle, in the same Chromium. The hub's way begins
before its first page and includes Keycloak, alice's password and the start of her server; the bare way begins with the
command. Run ``python tests/benchmarks/bench_login.py``; it starts an installation of its own and takes it away again.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from rs_platform import access, starting, stopping
from rs_platform import secrets as platform_secrets
from rs_platform.installation import Installation
from rs_platform.ports import free_port
from rs_platform.site import Site

CHECKOUT = Path(__file__).resolve().parents[2]
TUTORIAL = "notebooks/tutorials/first_product.ipynb"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
ROUNDS = 4
USER = "alice"
_PATIENCE_MS = 120_000


def main() -> None:
    """Measure both ways in turn; the first round warms the file cache and is told apart."""
    home = Path(tempfile.mkdtemp(prefix="rs-bench-"))
    installation = Installation(home)
    try:
        starting.up(installation, free_ports=True, report=lambda _: None)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            _compare(access.known_site(installation), browser)
            browser.close()
    finally:
        stopping.down(installation)
        shutil.rmtree(home, ignore_errors=True)


def _compare(site: Site, browser: Browser) -> None:
    ways: dict[str, Callable[[Page], None]] = {
        "bare jupyter lab": lambda page: _bare(site, page),
        "login at the hub": lambda page: _hub(site, page),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name, way in ways.items():
            seconds = _timed(browser, way)
            _say(f"round {number}: {name:<20} {seconds:6.2f} s")
            times[name] += [seconds] if number else []
    bare, hub = (statistics.median(found) for found in times.values())
    _say(f"median without the first round: bare {bare:.2f} s, hub {hub:.2f} s, ratio {hub / bare:.2f}")


def _timed(browser: Browser, way: Callable[[Page], None]) -> float:
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    begin = time.monotonic()
    way(page)
    seconds = time.monotonic() - begin
    context.close()
    return seconds


def _hub(site: Site, page: Page) -> None:
    hub = site.ports.url("hub").rstrip("/")
    page.goto(f"{hub}/hub/user-redirect/lab/tree/{TUTORIAL}")
    page.get_by_label("Username").fill(USER)
    page.locator("#password").fill(platform_secrets.password(site.installation, USER) or "")
    page.get_by_role("button", name="Sign In").click()
    _expect_kernel(page)
    token = next(cookie for cookie in page.context.cookies(f"{hub}/hub/") if cookie["name"] == "_xsrf")["value"]
    page.request.delete(f"{hub}/hub/api/users/{USER}/server?_xsrf={token}", headers={"Referer": f"{hub}/hub/home"})
    _wait_until_gone(site)


def _bare(site: Site, page: Page) -> None:
    port, token = free_port(), secrets.token_hex(16)
    command = [str(site.venv_bin / "jupyter-lab"), "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1"]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(CHECKOUT / "notebooks", Path(folder) / "notebooks")
        environment = {**os.environ, "JUPYTER_TOKEN": token, "HOME": folder}
        server = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
        try:
            _open_when_there(page, f"http://127.0.0.1:{port}/lab/tree/{TUTORIAL}?token={token}")
            _expect_kernel(page)
        finally:
            server.terminate()
            server.wait()


def _open_when_there(page: Page, address: str) -> None:
    for _ in range(600):
        try:
            page.goto(address)
        except Error:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("jupyter lab does not start")


def _expect_kernel(page: Page) -> None:
    expect(page.locator("#jp-main-statusbar")).to_contain_text(re.compile(r"Python 3.*\| Idle"), timeout=_PATIENCE_MS)


def _wait_until_gone(site: Site) -> None:
    """The next round begins without her server."""
    homes = str(site.data("hub") / "homes" / USER)
    for _ in range(300):
        if not any(_home_of(folder) == homes for folder in Path("/proc").glob("[0-9]*")):
            return
        time.sleep(0.1)
    raise TimeoutError("the server of the last round does not stop")


def _home_of(process: Path) -> str:
    try:
        variables = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next((value[5:].decode(errors="replace") for value in variables if value.startswith(b"HOME=")), "")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
