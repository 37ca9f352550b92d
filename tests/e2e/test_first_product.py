"""What people see: the scientist her product, her colleague nothing of it, a stranger why he may not come in."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from tests.conftest import Platform
from tests.e2e.conftest import Newcomer
from tests.e2e.lab import SECOND, Notebook, Person, of_cells, outputs, text

TUTORIAL = "notebooks/tutorials/first_product.ipynb"
MADE_BY_THE_TUTORIAL = "alice_s1-l0"

LOOK_FOR_IT = f"""
import rs_client
from rs_client.errors import NotFound

session = rs_client.connect()
print("I am", session.whoami().login)
print("collections", [one.id for one in session.catalog.get_collections()])
print("items", [one.id for one in session.catalog.search(collections=["{MADE_BY_THE_TUTORIAL}"]).items()])
try:
    session.catalog.get_collection("{MADE_BY_THE_TUTORIAL}")
except NotFound as error:
    print("status", error.status)
"""


@pytest.fixture(scope="module")
def alice(platform: Platform, newcomer: Newcomer) -> Person:
    """In JupyterLab."""
    person = newcomer("alice")
    person.log_in(platform.password("alice"))
    person.expect_lab()
    person.look("2-lab")
    return person


@pytest.fixture(scope="module")
def tutorial(alice: Person) -> Iterator[Notebook]:
    """Opened and run from top to bottom; left as it was delivered."""
    delivered = alice.read(TUTORIAL)
    notebook = alice.open(TUTORIAL)
    alice.look("3-tutorial")
    notebook.run_all()
    notebook.expect_output(figure(notebook), timeout_s=270)
    notebook.expect_idle()
    yield notebook
    alice.page.goto(f"{alice.hub}/hub/home")  # away from the page, which saves by itself
    alice.write(TUTORIAL, delivered)


def figure(notebook: Notebook) -> Locator:
    return notebook.panel.locator(".bk-Figure").first


def colours(picture: bytes) -> int:
    found = Image.open(io.BytesIO(picture)).convert("RGB").getcolors(maxcolors=1 << 24)
    return len(found or ())


def test_the_tutorial_shows_its_table_and_its_figure(alice: Person, tutorial: Notebook) -> None:
    table = tutorial.panel.locator("table.dataframe").last
    table.scroll_into_view_if_needed()
    expect(table).to_be_visible()
    expect(table).to_contain_text("1052")
    expect(table).to_contain_text("1054")
    alice.look("4-table")
    drawing = figure(tutorial)
    drawing.scroll_into_view_if_needed()
    expect(drawing).to_be_visible()
    alice.look("5-figure")
    assert colours(drawing.screenshot()) > 20  # axes, lines and a legend: not an empty frame


def test_the_tutorial_ran_to_its_end_without_an_error(tutorial: Notebook) -> None:
    expect(tutorial.errors).to_have_count(0)
    expect(tutorial.panel.get_by_text("could not load")).to_have_count(0)
    saved = tutorial.save()
    code = [cell for cell in saved["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert [output for output in outputs(saved) if output["output_type"] == "error"] == []
    assert [output for output in outputs(saved) if output.get("name") == "stderr"] == []


def test_a_colleague_sees_nothing_of_it(platform: Platform, newcomer: Newcomer, tutorial: Notebook) -> None:
    assert tutorial.errors.count() == 0
    bob = newcomer("bob")
    bob.log_in(platform.password("bob"))
    bob.expect_lab()
    bob.write("look_for_it.ipynb", of_cells(LOOK_FOR_IT))
    notebook = bob.open("look_for_it.ipynb")
    notebook.run_all()
    notebook.expect_output(notebook.printed("status"), timeout_s=60)
    notebook.expect_idle()
    bob.look("2-sees-nothing")
    said = text(notebook.save()).splitlines()
    assert "I am bob" in said
    assert "items []" in said
    assert "status 404" in said
    assert MADE_BY_THE_TUTORIAL not in next(line for line in said if line.startswith("collections"))


def test_a_stranger_is_told_why_he_may_not_come_in(platform: Platform, newcomer: Newcomer) -> None:
    visitor = newcomer("visitor")
    visitor.log_in(platform.password("visitor"))
    page = visitor.page
    expect(page.get_by_role("heading", name="you may not use this hub")).to_be_visible(timeout=30 * SECOND)
    expect(page.get_by_text("You logged in as visitor")).to_be_visible()
    expect(page.get_by_text("rs-users")).to_be_visible()
    visitor.look("2-refused")
    assert page.goto(f"{visitor.hub}/hub/home")
    expect(page.get_by_text("rs-users")).to_be_visible(timeout=30 * SECOND)
