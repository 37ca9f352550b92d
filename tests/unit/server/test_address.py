"""Links start at the public address, whatever a caller says about it."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, Request

from rs_server.frontend.address import PublicAddress
from tests.asgi import client

LIES = {"Host": "evil.test/?", "X-Forwarded-Host": "evil.test", "X-Forwarded-Prefix": "//evil", "Forwarded": "host=e"}


@pytest.mark.parametrize("public", ["http://127.0.0.1:8000", "https://rs.test", "https://rs.test/platform"])
async def test_links(public: str) -> None:
    inner, outer = FastAPI(), FastAPI()

    @inner.get("/here/{name}")
    async def here(request: Request, name: str) -> list[str]:
        return [str(request.base_url), str(request.url_for("here", name=name)), str(request.url)]

    outer.mount("/inner", inner)
    outer.add_middleware(PublicAddress, public_url=public)
    async with client(outer) as http:
        answer = await http.get("/inner/here/x?a=b", headers=LIES)
    base, link, url = answer.json()
    assert base == f"{public}/"
    assert link == f"{public}/inner/here/x"
    assert url == f"{public}/inner/here/x?a=b"
