"""Databases of a test's own, on the server of a running platform."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

import rs_server
from rs_platform.access import known_site
from rs_platform.installation import Installation
from rs_server.settings import DatabaseSettings
from tests.conftest import Platform

MIGRATIONS = Path(rs_server.__file__).parent / "migrations"


@contextmanager
def own_database(platform: Platform, prefix: str, migrations: Iterable[str]) -> Iterator[DatabaseSettings]:
    """A database with the tables of these migrations (by number) alone, which no service of the platform works on."""
    superuser = known_site(Installation(platform.home)).superuser
    name = f"{prefix}_{uuid4().hex[:8]}"
    with psycopg.connect(superuser, autocommit=True) as conn:
        conn.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        dsn = superuser.rpartition("/")[0] + f"/{name}"
        try:
            with psycopg.connect(dsn) as mine:
                mine.execute("CREATE SCHEMA rs")
                for number in migrations:
                    (script,) = MIGRATIONS.glob(f"{number}_*.sql")
                    mine.execute(script.read_bytes())
            yield DatabaseSettings(dsn=SecretStr(dsn))
        finally:
            conn.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
