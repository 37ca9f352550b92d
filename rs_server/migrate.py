"""Brings the database to the form this version needs; safe to run again, also after having been killed half way.

Run ``python -m rs_server.migrate``. Each step is one transaction, and an advisory lock lets one run at a time in.
"""

from __future__ import annotations

import json
import re
import sys
from importlib import resources

import psycopg
import structlog
from procrastinate.schema import SchemaManager
from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo

from rs_server import telemetry
from rs_server.catalog.queryables import queryables
from rs_server.errors import Unavailable
from rs_server.processes.queue import SCHEMA
from rs_server.settings import DatabaseSettings, load

log = structlog.get_logger(__name__)

EXTENSIONS = ("postgis", "btree_gist", "unaccent")
PGSTAC_ROLES = ("pgstac_admin", "pgstac_read", "pgstac_ingest")


_LOCK = 0x7273_6D69_6772  # any number, the same in every run
_FILE_NAME = re.compile(r"^\d\d_[a-z0-9_]+\.sql$")


class MigrationRefused(Exception):
    """The database cannot be brought to the needed form; the message says what to do."""


def migrate(settings: DatabaseSettings) -> None:
    """Bring the database to the form this version needs.

    Raises ``Unavailable`` when the database does not answer, ``MigrationRefused`` when a step is not permitted.
    """
    dsn = settings.dsn.get_secret_value()
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as conn:
            conn.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
            _extensions(conn)
            _roles(conn)
            _pgstac(dsn)
            _catalog_settings(conn)
            _queue(conn)
            _own_files(conn)
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database does not answer: {error}") from error


def _extensions(conn: Connection) -> None:
    present = {str(name) for (name,) in conn.execute("SELECT extname FROM pg_extension").fetchall()}
    for name in EXTENSIONS:
        if name not in present:
            _create_extension(conn, name)


def _create_extension(conn: Connection, name: str) -> None:
    try:
        conn.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(name)))
    except psycopg.errors.InsufficientPrivilege as error:
        raise MigrationRefused(
            f"the extension {name} is missing; run as a superuser in this database: CREATE EXTENSION {name};"
        ) from error
    log.info("extension_created", extension=name)


def _roles(conn: Connection) -> None:
    """Be a member of pgstac's roles: its migration sets some of its tables up as them."""
    try:
        for name in PGSTAC_ROLES:
            if conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone() is None:
                conn.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
            conn.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(name)))
    except psycopg.errors.InsufficientPrivilege as error:
        user = conn.info.user
        raise MigrationRefused(
            f"pgstac works with the roles {', '.join(PGSTAC_ROLES)}, and {user} may not make or join them; "
            f"run as a superuser: ALTER ROLE {user} CREATEROLE;"
        ) from error


def _pgstac(dsn: str) -> None:
    """Install or upgrade pgstac, in one transaction of its own."""
    from pypgstac.db import PgstacDB  # changes how psycopg writes JSON in the whole process: only where it is needed
    from pypgstac.migrate import Migrate

    database = PgstacDB(dsn=make_conninfo(dsn, application_name="rs-migrate"))
    try:
        version = Migrate(database).run_migration()
    except psycopg.ProgrammingError as error:
        raise MigrationRefused(f"pgstac cannot be installed: {error}") from error
    finally:
        database.close()
    log.info("pgstac_ready", version=version)


def _catalog_settings(conn: Connection) -> None:
    with conn.transaction():
        conn.execute("SELECT pgstac.upsert_queryables(%s::jsonb)", [json.dumps(queryables())])
        conn.execute(  # without it, searches do not say how many items match
            "INSERT INTO pgstac.pgstac_settings (name, value) VALUES ('context', 'on') "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        )


def _queue(conn: Connection) -> None:
    """The tables of the job queue, in a schema of their own."""
    if conn.execute("SELECT to_regclass(%s)", [f"{SCHEMA}.procrastinate_jobs"]).fetchone() != (None,):
        return
    with conn.transaction():
        conn.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA)))
        conn.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(SCHEMA)))
        conn.execute(SchemaManager.get_schema())
    log.info("queue_created", schema=SCHEMA)


def _own_files(conn: Connection) -> None:
    """Apply each file of ``rs_server/migrations`` once, in the order of their names."""
    with conn.transaction():
        conn.execute("CREATE SCHEMA IF NOT EXISTS rs")
        conn.execute(
            "CREATE TABLE IF NOT EXISTS rs.migrations (name text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"
        )
    done = {str(name) for (name,) in conn.execute("SELECT name FROM rs.migrations").fetchall()}
    for name, text in sorted(_files().items()):
        if name not in done:
            _apply(conn, name, text)


def _files() -> dict[str, str]:
    folder = resources.files("rs_server") / "migrations"
    return {file.name: file.read_text() for file in folder.iterdir() if _FILE_NAME.match(file.name)}


def _apply(conn: Connection, name: str, text: str) -> None:
    try:
        with conn.transaction():
            conn.execute(text)  # shipped with the package
            conn.execute("INSERT INTO rs.migrations (name) VALUES (%s)", [name])
    except psycopg.ProgrammingError as error:
        raise MigrationRefused(f"{name} cannot be applied: {error}") from error
    log.info("migration_applied", name=name)


def main() -> int:
    """Migrate the database of the settings; 0 when it is done, 1 with one line on standard error when it is not."""
    settings = load()
    telemetry.configure_logging(settings.log_level)
    try:
        migrate(settings.database)
    except (MigrationRefused, Unavailable) as error:
        log.error("migration_failed", reason=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
