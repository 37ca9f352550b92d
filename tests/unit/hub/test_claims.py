"""Reading tokens without checking them."""

import base64
import json

import pytest

from rs_hub.claims import claims, life_left


def token(payload: object) -> str:
    return "h." + base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=") + ".s"


def test_payload_and_life() -> None:
    assert claims(token({"exp": 100, "a": "é"})) == {"exp": 100, "a": "é"}
    assert life_left(token({"exp": 100}), 40.5) == 59.5
    assert life_left(token({}), 40) < 0


@pytest.mark.parametrize("text", ["", "opaque", "a.b.c", "a.!!!.c", token(None), token(5), token("text"), token([1])])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a JSON web token"):
        claims(text)
