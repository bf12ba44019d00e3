"""One embedded PostgreSQL for all tests here, with a small shop in it."""

from pathlib import Path

import psycopg
import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory):
    from trellis_postgres.server import EmbeddedServer

    server = EmbeddedServer(str(tmp_path_factory.mktemp("postgres") / "data"), database="shop")
    server.start()
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute((DATA / "shop.sql").read_text(encoding="utf-8"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres(postgres_server):
    from trellis_postgres.backend import Postgres
    from trellis_postgres.config import PostgresConfig

    backend = Postgres(PostgresConfig(directory=str(postgres_server.directory), database="shop"))
    yield backend
    backend.close()


@pytest.fixture
def session(postgres_server):
    from trellis_postgres.config import PostgresConfig
    from trellis_postgres.session import Session

    session = Session(postgres_server.dsn, PostgresConfig())
    yield session
    session.close()
