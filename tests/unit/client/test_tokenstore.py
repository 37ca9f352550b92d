"""Where a login is kept: the keyring where there is a safe one, else a file that only you can read."""

from __future__ import annotations

from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring
from keyring.compat import properties
from keyring.errors import PasswordDeleteError, PasswordSetError

from rs_client.errors import NotConfigured
from rs_client.settings import Settings
from rs_client.tokenstore import FileStore, KeyringStore, Token, token_store

ISSUER = "http://keycloak.test/realms/rs-python"
TOKEN = Token("access", 1_700_000_000.0, "refresh", 300.0)


class Drawer(KeyringBackend):
    """A keyring in memory, which takes secrets up to a length."""

    longest = 4000

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[tuple[str, str], str] = {}

    @properties.classproperty
    def priority(self) -> float:
        return 5

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if len(password) > self.longest:
            raise PasswordSetError("too long")
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.kept:
            raise PasswordDeleteError("not there")
        del self.kept[service, username]


@pytest.fixture
def drawer() -> Drawer:
    return Drawer()


@pytest.fixture
def file(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "state" / "login.json")


def test_a_file_of_ones_own(file: FileStore) -> None:
    assert file.load() == Token()
    file.keep(TOKEN)
    assert file.load() == TOKEN
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o077 == 0
    file.forget()
    file.forget()
    assert file.load() == Token()


def test_the_keyring_keeps_it_and_the_file_does_not(drawer: Drawer, file: FileStore) -> None:
    file.keep(Token("old"))
    store = KeyringStore(drawer, ISSUER, file)
    assert store.load() == Token("old")
    store.keep(TOKEN)
    assert store.load() == TOKEN
    assert not file.path.exists()
    assert list(drawer.kept) == [("rs-python", ISSUER)]
    store.forget()
    store.forget()
    assert store.load() == Token()


def test_what_the_keyring_does_not_take_goes_to_the_file(drawer: Drawer, file: FileStore) -> None:
    drawer.longest = 10
    store = KeyringStore(drawer, ISSUER, file)
    store.keep(TOKEN)
    assert drawer.kept == {}
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert store.load() == TOKEN


@pytest.mark.parametrize("backend", [Drawer(), NoKeyring()], ids=["safe", "none"])  # type: ignore[no-untyped-call]
@pytest.mark.parametrize("wish", ["", "file", "keyring"])
def test_the_choice(tmp_path: Path, backend: KeyringBackend, wish: str) -> None:
    before = keyring.get_keyring()
    keyring.set_keyring(backend)
    try:
        settings = Settings(state_folder=tmp_path, token_store=wish)
        if wish == "keyring" and isinstance(backend, NoKeyring):
            with pytest.raises(NotConfigured, match="RS_TOKEN_STORE=file"):
                token_store(settings, ISSUER)
            return
        expected = KeyringStore if isinstance(backend, Drawer) and wish != "file" else FileStore
        assert type(token_store(settings, ISSUER)) is expected
    finally:
        keyring.set_keyring(before)


def test_logins_are_kept_by_issuer(tmp_path: Path) -> None:
    settings = Settings(state_folder=tmp_path, token_store="file")
    one, other = token_store(settings, ISSUER), token_store(settings, "http://other.test")
    assert isinstance(one, FileStore)
    assert isinstance(other, FileStore)
    assert one.path.parent == tmp_path
    assert one.path != other.path


@pytest.mark.parametrize("text", [None, "", "not json", "[]", "null", '{"another": "form"}'])
def test_what_is_damaged_is_no_login(text: str | None) -> None:
    assert Token.read(text) == Token()


def test_a_token_is_not_shown() -> None:
    assert "access" not in repr(TOKEN)
    assert "refresh" not in repr(TOKEN)
