"""Makes a large store of a simulated station out of a small one: its products again and again, each time later.

A station would make a million products one by one, which takes minutes; of a few thousand, the database makes a million
by itself. Copies have keys, names and dates of their own. So do those of their attributes that tell products apart
(dates, orbits); others are shared among all copies, as stations share them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

SHIFTED_US = 25_000_000  # a copy is later than the one before by so much for each product: that is how they are made
APART = ("orbitNumber", "datatakeID", "datastripId", "productGroupId")  # and all dates
DATES = {"OriginDate", "PublicationDate", "EvictionDate", "ContentDate/Start", "ContentDate/End", "ModificationDate"}
_MOMENT = "strftime('%Y-%m-%dT%H:%M:%fZ', {} / 1e6, 'unixepoch')"
_FAR = 253_000_000_000_000_000  # beyond this a date means never, and stays


def multiply(store: Path, times: int) -> None:
    """Leave so many times as many products in a store that no station has open."""
    with closing(sqlite3.connect(store, isolation_level=None)) as database:
        for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -262144", "temp_store = FILE"):
            database.execute(f"PRAGMA {setting}")
        later = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        indexes = later.fetchall()
        for name, _ in indexes:
            database.execute(f'DROP INDEX "{name}"')
        database.execute("BEGIN")
        _copy(database, times)
        database.execute("COMMIT")
        for _, statement in indexes:
            database.execute(statement)
        database.execute("ANALYZE")
        database.execute("PRAGMA journal_mode = WAL")


def _copy(database: sqlite3.Connection, times: int) -> None:
    count, first = database.execute('SELECT max(row), count(*) FROM "Products"').fetchone()
    assert first == count, "rows are numbered from 1"
    database.execute(
        "CREATE TEMP TABLE copies AS "
        f"WITH RECURSIVE c(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM c WHERE n < {times - 1})"
        f" SELECT n, n * {count} AS rows, n * {count * SHIFTED_US} AS us FROM c"
    )
    _attributes(database)
    database.execute(_products(database))
    present = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "Products/boxes" in present:
        boxes = "row, west, east, south, north"
        database.execute(
            f'INSERT INTO "Products/boxes" ({boxes}) SELECT b.row + rows, west, east, south, north'
            ' FROM copies CROSS JOIN "Products/boxes" b'
        )
    if "Products/spans" in present:
        database.execute(
            'INSERT INTO "Products/spans" (row, begins, ends) SELECT s.row + rows, "ContentDate/Start" + us, '
            '"ContentDate/End" + us FROM copies CROSS JOIN "Products/spans" s JOIN "Products" p ON p.row = s.row'
        )
    if "Products/Quicklooks" in present:
        names = [name for name in _columns(database, "Products/Quicklooks") if name not in ("row", "owner")]
        kept = ", ".join(f'q."{name}"' for name in names)
        into = ", ".join(f'"{name}"' for name in ("owner", *names))
        database.execute(
            f'INSERT INTO "Products/Quicklooks" ({into}) SELECT q.owner + rows, {kept}'
            ' FROM copies CROSS JOIN "Products/Quicklooks" q'
        )


def _attributes(database: sqlite3.Connection) -> None:
    """Those that tell products apart, once for each copy, and the links to all of them."""
    database.execute("CREATE TEMP TABLE place (row INTEGER PRIMARY KEY, n INTEGER, step INTEGER)")
    database.execute(
        "INSERT INTO place SELECT row, row_number() OVER (ORDER BY row), "
        "max(number) OVER (PARTITION BY Name) - min(number) OVER (PARTITION BY Name) + 1 "
        'FROM "Products/Attributes" '
        f"WHERE ValueType = 'DateTimeOffset' OR Name IN ({', '.join('?' * len(APART))})",
        APART,
    )
    (kept,) = database.execute('SELECT max(row) FROM "Products/Attributes"').fetchone()
    (many,) = database.execute("SELECT count(*) FROM place").fetchone()
    moved = f"{kept} + (c.n - 1) * {many} + p.n"
    number = "CASE ValueType WHEN 'DateTimeOffset' THEN number + us WHEN 'Integer' THEN number + c.n * step END"
    text = (
        f"CASE ValueType WHEN 'DateTimeOffset' THEN {_MOMENT.format('(number + us)')} "
        f"WHEN 'Integer' THEN CAST(CAST(number + c.n * step AS INTEGER) AS TEXT) ELSE text || '_' || c.n END"
    )
    database.execute(
        f'INSERT INTO "Products/Attributes" (row, Name, ValueType, text, number) '
        f'SELECT {moved}, Name, ValueType, {text}, {number} FROM copies c CROSS JOIN "Products/Attributes" a '
        "JOIN place p ON p.row = a.row"
    )
    database.execute(
        f'INSERT INTO "Products/Attributes/links" SELECT l.owner + c.rows, coalesce({moved}, l.shared) '
        'FROM copies c CROSS JOIN "Products/Attributes/links" l LEFT JOIN place p ON p.row = l.shared'
    )


def _products(database: sqlite3.Connection) -> str:
    """The statement that copies the products. Of what they show, what clients page by is that of the copy."""
    key = "substr(p.\"Id\", 1, 24) || printf('%012x', p.row + rows)"
    name = "p.\"Name\" || printf('_%06d', c.n)"
    shown = {"Id": key, "Name": name, "PublicationDate": _MOMENT.format('(p."PublicationDate" + us)')}
    document = ", ".join(f"'$.{member}', {value}" for member, value in shown.items())
    special = {"row": "p.row + rows", "Id": key, "Name": name, "document": f"json_set(p.document, {document})"}
    columns = _columns(database, "Products")
    values = [special.get(column) or _shifted(f'p."{column}"', is_date=column in DATES) for column in columns]
    listed = ", ".join(f'"{column}"' for column in columns)
    return f'INSERT INTO "Products" ({listed}) SELECT {", ".join(values)} FROM copies c CROSS JOIN "Products" p'


def _shifted(column: str, *, is_date: bool) -> str:
    return f"CASE WHEN {column} > {_FAR} THEN {column} ELSE {column} + us END" if is_date else column


def _columns(database: sqlite3.Connection, table: str) -> list[str]:
    return [name for (_, name, *_) in database.execute(f'PRAGMA table_info("{table}")')]
