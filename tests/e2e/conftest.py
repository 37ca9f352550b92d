"""Fixtures of the browser tests: a real Chromium, people in front of it, and the pictures they take."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import CHECKOUT, Platform
from tests.e2e.lab import Person

ARTIFACTS_VARIABLE = "RS_TEST_ARTIFACTS"
FLAGS = (
    "--no-sandbox",  # Chromium refuses its sandbox to root, which a CI machine runs as
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

type Newcomer = Callable[[str], Person]


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where screenshots are kept: the folder named by RS_TEST_ARTIFACTS, else build/screenshots."""
    folder = Path(os.environ.get(ARTIFACTS_VARIABLE) or CHECKOUT / "build" / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The system's Chromium without a window."""
    program = shutil.which("chromium")
    assert program, "chromium is missing: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def newcomer(platform: Platform, chromium: Browser, pictures: Path) -> Iterator[Newcomer]:
    """Makes somebody with an empty browser profile."""
    pages: list[Page] = []

    def appear(name: str) -> Person:
        page = chromium.new_context(viewport={"width": 1400, "height": 1000}).new_page()
        pages.append(page)
        return Person(name, page, platform.url("hub").rstrip("/"), pictures)

    yield appear
    for page in pages:
        page.context.close()
