"""A person in front of a browser: what she sees of the hub, of Keycloak and of JupyterLab, and what she does there."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Locator, Page, TimeoutError, expect  # noqa: A004 - its own

SECOND = 1000
ERROR_OUTPUT = '[data-mime-type="application/vnd.jupyter.error"]'


@dataclass(frozen=True)
class Person:
    """Somebody with a browser profile of her own."""

    name: str
    page: Page
    hub: str
    pictures: Path

    def look(self, what: str) -> None:
        """Keep a picture of what is on the screen."""
        self.page.screenshot(path=self.pictures / f"{self.name}-{what}.png")

    def log_in(self, password: str) -> None:
        """Open the hub, which leads to Keycloak, and give name and password there."""
        self.page.goto(self.hub)
        expect(self.page.locator("#kc-form-login")).to_be_visible(timeout=30 * SECOND)
        self.look("1-keycloak")
        self.page.get_by_label("Username").fill(self.name)
        self.page.locator("#password").fill(password)
        self.page.get_by_role("button", name="Sign In").click()

    def expect_lab(self) -> None:
        """Wait until JupyterLab is there."""
        expect(self.page.locator("#jp-main-dock-panel")).to_be_visible(timeout=90 * SECOND)
        expect(self.page.locator("#jupyterlab-splash")).to_have_count(0, timeout=30 * SECOND)

    def open(self, path: str) -> Notebook:
        """Open a notebook of her home by its address, and wait for its kernel."""
        self._keep_cells_on_the_page()
        self.page.goto(f"{self.hub}/user/{self.name}/lab/tree/{quote(path)}?reset")  # no tabs of earlier visits
        self.expect_lab()
        notebook = Notebook(self, path)
        # The indicator says idle of a kernel that is not there yet: the status bar knows.
        status_bar = self.page.locator("#jp-main-statusbar")
        expect(status_bar).to_contain_text(re.compile(r"Python 3.*\| Idle"), timeout=90 * SECOND)
        expect(notebook.prompts.first).to_be_visible(timeout=30 * SECOND)
        return notebook

    def write(self, path: str, notebook: dict[str, Any]) -> None:
        """Put a notebook into her home."""
        self._put(self._contents(path), {"type": "notebook", "format": "json", "content": notebook})

    def read(self, path: str) -> dict[str, Any]:
        """A notebook of her home as it is saved."""
        answer = self.page.request.get(self._contents(path))
        assert answer.ok, f"{answer.status} {answer.text()}"
        content: dict[str, Any] = answer.json()["content"]
        return content

    def _keep_cells_on_the_page(self) -> None:
        """JupyterLab takes cells out of view off the page; the tests must see an error wherever it is."""
        name = quote("@jupyterlab/notebook-extension:tracker", safe="")
        settings = f"{self.hub}/user/{self.name}/lab/api/settings/{name}"
        self._put(settings, {"raw": json.dumps({"windowingMode": "none"})})

    def _put(self, address: str, body: dict[str, Any]) -> None:
        headers = {"X-XSRFToken": self._token(), "Content-Type": "application/json"}
        answer = self.page.request.put(address, headers=headers, data=json.dumps(body))
        assert answer.ok, f"{answer.status} {answer.text()}"

    def _contents(self, path: str) -> str:
        return f"{self.hub}/user/{self.name}/api/contents/{quote(path)}"

    def _token(self) -> str:
        """The cross-site token of her own server, not the one of the hub."""
        cookies = self.page.context.cookies(f"{self.hub}/user/{self.name}/lab")
        found = [cookie for cookie in cookies if cookie["name"] == "_xsrf"]
        return max(found, key=lambda cookie: len(cookie["path"]))["value"]


@dataclass(frozen=True)
class Notebook:
    """A notebook that is open in JupyterLab, with its kernel."""

    person: Person
    path: str

    @property
    def panel(self) -> Locator:
        """Its visible part."""
        return self.person.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    @property
    def indicator(self) -> Locator:
        """The kernel's state."""
        return self.panel.locator(".jp-Notebook-ExecutionIndicator")

    @property
    def errors(self) -> Locator:
        """Tracebacks on the screen."""
        return self.panel.locator(ERROR_OUTPUT)

    @property
    def prompts(self) -> Locator:
        """The numbers before the code cells."""
        return self.panel.locator(".jp-CodeCell .jp-InputPrompt")

    def printed(self, words: str) -> Locator:
        """The output of a cell that says these words."""
        return self.panel.locator(".jp-OutputArea-output").filter(has_text=words).first

    def run_all(self) -> None:
        """Run → Restart Kernel and Run All Cells; JupyterLab may drop the command without a word, so it is repeated."""
        for _ in range(4):
            self._menu("Run", "Restart Kernel and Run All Cells")
            try:
                self.person.page.get_by_role("button", name="Confirm Kernel Restart").click(timeout=10 * SECOND)
                expect(self.prompts.first).to_have_text(re.compile(r"\[[*1]\]:"), timeout=20 * SECOND)
            except (TimeoutError, AssertionError):
                self.person.page.keyboard.press("Escape")
            else:
                return
        self.person.look("does-not-run")
        raise AssertionError(f"JupyterLab does not run {self.path}")

    def _menu(self, menu: str, entry: str) -> None:
        page = self.person.page
        page.get_by_role("menuitem", name=menu, exact=True).click()
        page.get_by_role("menuitem", name=entry).click()

    def expect_output(self, output: Locator, timeout_s: float) -> None:
        """Wait for an output, and stop waiting at the first traceback."""
        try:
            expect(output.or_(self.errors).first).to_be_visible(timeout=timeout_s * SECOND)
        finally:
            self.person.look("latest-output")
        assert self.errors.count() == 0, self.errors.first.inner_text()

    def expect_idle(self, timeout_s: float = 60) -> None:
        """Wait until the kernel has nothing more to do."""
        expect(self.indicator).to_have_attribute("data-status", "idle", timeout=timeout_s * SECOND)

    def save(self) -> dict[str, Any]:
        """Save it (as the toolbar's first button does), and read what was saved."""
        page = self.person.page
        with page.expect_response(lambda answer: answer.request.method == "PUT" and "/api/contents/" in answer.url):
            self.panel.get_by_role("button", name="Save").first.click()
        return self.person.read(self.path)


def of_cells(*sources: str) -> dict[str, Any]:
    """A notebook of code cells."""
    code: dict[str, Any] = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "cells": [{**code, "id": f"cell-{n}", "source": source} for n, source in enumerate(sources)],
    }


def outputs(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """All outputs of a saved notebook."""
    return [output for cell in notebook["cells"] for output in cell.get("outputs", ())]


def text(notebook: dict[str, Any]) -> str:
    """What a saved notebook printed."""
    return "".join("".join(output["text"]) for output in outputs(notebook) if output["output_type"] == "stream")
