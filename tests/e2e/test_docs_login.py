"""The documentation page in a real browser: Authorize logs in at Keycloak with PKCE, and what is tried then works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.conftest import Platform

PATIENCE_MS = 60_000


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def test_authorize_and_try(platform: Platform, page: Page, pictures: Path) -> None:
    server, keycloak = platform.url("rs-server").rstrip("/"), platform.url("keycloak").rstrip("/")
    sent: list[Request] = []
    page.context.on("request", lambda request: sent.append(request))
    page.goto(f"{server}/auth/login")
    expect(page).to_have_url(f"{server}/docs")
    page.locator("button.authorize").first.click()
    login = page.locator(".auth-container").filter(has_text="authorizationCode with PKCE")
    login.locator("label", has_text="openid").first.click()
    with page.expect_popup() as opened:
        login.locator("button.authorize").click()
    form = opened.value
    form.locator("#username").fill("alice")
    form.locator("#password").fill(platform.password("alice"))
    with form.expect_event("close"):
        form.locator("#kc-login").click()
    expect(login.locator("button", has_text="Logout")).to_be_visible()
    page.screenshot(path=pictures / "docs-authorized.png")
    login.locator(".btn-done").click()

    operation = page.locator(".opblock", has_text="/auth/me").first
    operation.locator(".opblock-summary-control").click()
    operation.locator("button.try-out__btn").click()
    operation.locator("button.execute").click()
    expect(operation.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    expect(operation.locator(".live-responses-table")).to_contain_text('"login": "alice"')
    page.screenshot(path=pictures / "docs-tried.png")

    _was_with_pkce(sent, keycloak)
    assert {urlsplit(each.url).netloc for each in sent} <= {urlsplit(url).netloc for url in (server, keycloak)}


def _was_with_pkce(sent: list[Request], keycloak: str) -> None:
    """The code was asked for with a challenge, and redeemed with what answers it; no token was in an address."""
    asked = next(each for each in sent if each.url.startswith(keycloak) and "/auth?" in each.url)
    query = parse_qs(urlsplit(asked.url).query)
    assert query["response_type"] == ["code"]
    assert query["code_challenge_method"] == ["S256"]
    assert len(query["code_challenge"][0]) == 43
    redeemed = next(each for each in sent if each.url.endswith("/token") and each.method == "POST")
    form = parse_qs(redeemed.post_data or "")
    assert form["grant_type"] == ["authorization_code"]
    assert len(form["code_verifier"][0]) >= 43
    assert not any("access_token" in each.url or "id_token" in each.url for each in sent)


def test_logging_out_ends_the_session_at_keycloak(platform: Platform, page: Page) -> None:
    server, keycloak = platform.url("rs-server").rstrip("/"), platform.url("keycloak").rstrip("/")
    page.goto(f"{server}/auth/logout")
    assert page.url.startswith(f"{keycloak}/realms/rs-python/protocol/openid-connect/logout")
    page.locator("#kc-logout").click()
    expect(page.locator("body")).to_contain_text("logged out")
