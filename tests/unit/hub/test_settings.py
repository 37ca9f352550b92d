"""The hub's settings refuse what would fail later, and keep their secrets."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from rs_hub.settings import HubSettings, load, realm_values


def test_a_file_is_read(tmp_path: Path, hub_values: dict[str, Any]) -> None:
    file = tmp_path / "hub.yaml"
    file.write_text(yaml.safe_dump(hub_values))
    assert load(file).public_url == "http://127.0.0.1:18000"  # without the slash


@pytest.mark.parametrize(
    ("section", "name", "value", "told"),
    [
        ("hub", "crypt_key", "c0" * 16, "32 bytes"),
        ("hub", "crypt_key", "no hexadecimal", "hexadecimal"),
        ("hub", "port", 0, "greater than or equal to 1"),
        ("hub", "prot", 1, "Extra inputs"),
        ("gateway", "encrypt_key", "aa" * 32, "32 bytes"),
        ("gateway", "encrypt_key", "not base64!", "base64"),
        ("gateway", "worker_cores", 0, "greater than or equal to 1"),
    ],
)
def test_a_wrong_value_is_named(hub_values: dict[str, Any], section: str, name: str, value: object, told: str) -> None:
    hub_values[section][name] = value
    with pytest.raises(ValidationError, match=told) as refused:
        HubSettings.model_validate(hub_values)
    assert f"{section}.{name}" in str(refused.value)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_both_alphabets_of_base64_are_taken(hub_values: dict[str, Any], encode: Callable[[bytes], bytes]) -> None:
    hub_values["gateway"]["encrypt_key"] = encode(b"\xff\xfe" * 16).decode()
    HubSettings.model_validate(hub_values)


def test_no_secret_is_printed(hub_settings: HubSettings, hub_secrets: dict[str, str]) -> None:
    assert not [name for name, secret in hub_secrets.items() if secret in repr(hub_settings)]


def test_every_setting_without_an_obvious_name_is_described() -> None:
    assert all(field.description for field in HubSettings.model_fields.values() if field.annotation is str)


def test_absent_values_of_a_realm_file_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RS_THERE", "x")
    monkeypatch.delenv("RS_ONE", raising=False)
    monkeypatch.delenv("RS_TWO", raising=False)
    with pytest.raises(ValueError, match="RS_ONE, RS_TWO"):
        realm_values(frozenset({"RS_TWO", "RS_ONE", "RS_THERE"}))
