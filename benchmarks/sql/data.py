"""Loads a folder of tables: `schema.sql`, then `csv/TABLE.csv.gz` with a header, then ANALYZE."""

from __future__ import annotations

import gzip
from pathlib import Path

import psycopg
from psycopg import sql


def load_folder(admin_dsn: str, folder: Path) -> dict[str, int]:
    """Load a folder into an empty database, in one transaction, and return the rows of each table.

    A CSV's values are NULL where they are empty, or the word NULL where the file uses it.
    """
    rows: dict[str, int] = {}
    with psycopg.connect(admin_dsn) as connection:
        for statement in (folder / "schema.sql").read_text(encoding="utf-8").split(";"):
            if statement.strip():
                connection.execute(statement.encode())
        for file in sorted((folder / "csv").glob("*.csv.gz")):
            table = file.name.removesuffix(".csv.gz").lower()
            text = gzip.decompress(file.read_bytes())
            null = "NULL" if b",NULL" in text else ""
            columns = [name.strip().strip('"').lower() for name in text.split(b"\n", 1)[0].decode().split(",")]
            copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, HEADER, NULL {})").format(
                sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Literal(null)
            )
            with connection.cursor() as cursor:
                with cursor.copy(copy) as into:
                    into.write(text)
                rows[table] = cursor.rowcount
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return rows
