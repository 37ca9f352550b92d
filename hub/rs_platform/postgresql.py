"""The PostgreSQL cluster of an installation: which server runs it, as whom, and what is in it."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

from rs_platform.installation import MARKER_VARIABLE, private_folder, write_private
from rs_platform.processes import environment, read
from rs_platform.site import Site
from rs_platform.tools import POSTGRESQL_ROOT, postgresql_versions

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

UNPRIVILEGED_USER = "postgres"

_SETTINGS = """\
# Written at each start; sized for a laptop.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 120
shared_buffers = 128MB
effective_cache_size = 512MB
work_mem = 8MB
maintenance_work_mem = 64MB
max_wal_size = 512MB
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_statement = 'none'
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_min_error_statement = panic
"""

_BARE = {"PATH": "/usr/bin:/bin"}

_ROLES: tuple[tuple[str, LiteralString], ...] = (
    ("rs", "LOGIN CREATEROLE"),  # pgstac's migration makes roles of its own
    ("keycloak", "LOGIN"),
)


class PostgresqlProblem(Exception):
    """The cluster cannot be run; the message says why and what to do."""


def server_programs(cluster: Path) -> Path:
    """The folder of the server programs that fit a cluster; for one not made yet, the newest."""
    versions = postgresql_versions()
    made = cluster / "PG_VERSION"
    if made.exists():
        version = int(made.read_text().strip())
        if version not in versions:
            raise PostgresqlProblem(
                f"{cluster} was made by PostgreSQL {version}, which is not installed: "
                f"apt-get install postgresql-{version} postgresql-{version}-postgis-3"
            )
        return POSTGRESQL_ROOT / str(version) / "bin"
    if not versions:
        raise PostgresqlProblem("no PostgreSQL server with PostGIS is installed: run `rs doctor`")
    return POSTGRESQL_ROOT / str(versions[0]) / "bin"


def as_unprivileged(command: list[str], folder: Path) -> list[str]:
    """The command as it must be run: PostgreSQL refuses root, so root hands it to another user."""
    if os.geteuid() != 0:
        return command
    user = ["setpriv", f"--reuid={UNPRIVILEGED_USER}", f"--regid={UNPRIVILEGED_USER}", "--clear-groups"]
    if not reachable_by_others(folder):  # it may then pass through folders, and nothing more
        user += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [*user, "--", *command]


def reachable_by_others(folder: Path) -> bool:
    """Whether every folder above this one can be walked through by anyone."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in folder.resolve().parents)


def ensure_cluster(site: Site) -> None:
    """Make the cluster if there is none, and write its settings; a half-made one is started over."""
    cluster = site.data("postgres")
    if not (cluster / "PG_VERSION").exists():
        _make(site, cluster)
    _forget_dead_server(site, cluster)
    settings = cluster / "rs.conf"
    settings.write_text(_SETTINGS.format(port=site.ports["postgres"]))
    _give_away(settings)


def _make(site: Site, cluster: Path) -> None:
    """Make a cluster beside its place and move it there whole."""
    unfinished = cluster.with_name("postgres.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(cluster, ignore_errors=True)
    private_folder(unfinished)
    password = unfinished.parent / ".postgres-password"
    write_private(password, site.secrets.postgres_password)
    _give_away(unfinished)
    _give_away(password)
    try:
        _initialise(site, unfinished, password)
    finally:
        password.unlink()
    with (unfinished / "postgresql.conf").open("a") as file:
        file.write("include 'rs.conf'\n")
    unfinished.rename(cluster)


def _initialise(site: Site, cluster: Path, password: Path) -> None:
    command = [
        str(server_programs(cluster) / "initdb"),
        *("-D", str(cluster), "-U", "postgres", f"--pwfile={password}"),
        *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums"),
    ]
    done = subprocess.run(
        as_unprivileged(command, cluster), env=_BARE, cwd="/", capture_output=True, text=True, check=False
    )
    site.installation.log("postgres-initdb").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise PostgresqlProblem(f"initdb failed: {done.stderr.strip()}")


def _give_away(path: Path) -> None:
    if os.geteuid() == 0:
        owner = pwd.getpwnam(UNPRIVILEGED_USER)
        os.chown(path, owner.pw_uid, owner.pw_gid)


def _forget_dead_server(site: Site, cluster: Path) -> None:
    """Remove the note of a killed server whose pid now belongs to something else; PostgreSQL would refuse to start."""
    note = cluster / "postmaster.pid"
    try:
        pid = int(note.read_text().split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return
    process = read(pid)
    ours = environment(pid).get(MARKER_VARIABLE) == str(site.installation.home)
    if process is None or process.name != "postgres" or not ours:
        note.unlink(missing_ok=True)


def ensure_databases(site: Site) -> None:
    """Make the roles and databases that are missing, and set the roles' passwords."""
    import psycopg

    passwords = {"rs": site.secrets.rs_database_password, "keycloak": site.secrets.keycloak_database_password}
    with psycopg.connect(site.superuser, autocommit=True) as connection:
        for role, rights in _ROLES:
            _ensure_role(connection, role, rights, passwords[role])
            _ensure_database(connection, role)
    own = site.database("rs", "postgres", site.secrets.postgres_password)
    with psycopg.connect(own, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS postgis")


def _ensure_role(connection: Connection, role: str, rights: LiteralString, password: str) -> None:
    from psycopg import sql

    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    statement = sql.SQL("ALTER ROLE {} {} PASSWORD {}")
    connection.execute(statement.format(sql.Identifier(role), sql.SQL(rights), sql.Literal(password)))


def _ensure_database(connection: Connection, name: str) -> None:
    from psycopg import sql

    if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
        connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(name)))
