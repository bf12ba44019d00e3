"""The role that may only read."""

import psycopg
import pytest

from trellis.errors import DatabaseError
from trellis_postgres.backend import Postgres
from trellis_postgres.config import PostgresConfig
from trellis_postgres.setup import setup_role


@pytest.fixture
def admin(postgres_server):
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as connection:
        yield connection
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'odd \"reader\"'").fetchone():
            connection.execute('DROP OWNED BY "odd ""reader"""')
            connection.execute('DROP ROLE "odd ""reader"""')


ROLE = 'odd "reader"'


def rights(admin):
    columns = "rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolcanlogin, rolconfig"
    return admin.execute(f"SELECT {columns} FROM pg_roles WHERE rolname = %s", (ROLE,)).fetchone()


def test_the_role_reads_the_schemas_named_and_nothing_else(admin, postgres_server):
    dsn = postgres_server.dsn("postgres")
    setup_role(dsn, role=ROLE, schemas=["public"])
    assert rights(admin) == (False,) * 6 + (["default_transaction_read_only=on"],)
    backend = Postgres(PostgresConfig(dsn=dsn, role=ROLE))
    assert backend.execute(backend.parse("SELECT * FROM city"), timeout_ms=60_000).num_rows == 20
    for sql in ("SELECT * FROM vault.secret", "SELECT * FROM pg_authid"):
        with pytest.raises(DatabaseError, match="permission denied"):
            backend.execute(backend.parse(sql), timeout_ms=60_000)
    admin.execute("CREATE TABLE made_later AS SELECT 1 AS a")
    try:
        assert backend.execute(backend.parse("SELECT * FROM made_later"), timeout_ms=60_000).num_rows == 1
    finally:
        admin.execute("DROP TABLE made_later")
        backend.close()


def test_it_can_be_run_again(admin, postgres_server):
    dsn = postgres_server.dsn("postgres")
    first = setup_role(dsn, role=ROLE, schemas=["public"], login=True, password="hidden")
    again = setup_role(dsn, role=ROLE, schemas=["public"])
    assert set(first) - set(again) == {
        'CREATE ROLE "odd ""reader"""',
        f'ALTER ROLE "odd ""reader""" WITH LOGIN {first[1].split(" LOGIN ")[1]}',
        'ALTER ROLE "odd ""reader""" PASSWORD \'***\'',
    }
    assert rights(admin)[5] is False


def test_a_dry_run_says_what_it_would_do_and_does_nothing(admin, postgres_server):
    statements = setup_role(postgres_server.dsn("postgres"), role=ROLE, dry_run=True, password="hidden")
    assert statements[0] == 'CREATE ROLE "odd ""reader"""'
    assert "hidden" not in " ".join(statements)
    assert rights(admin) is None


@pytest.mark.parametrize("role", ["postgres", "owner_of_something"])
def test_a_role_that_is_somebodys_is_left_alone(admin, postgres_server, role):
    admin.execute(
        "CREATE ROLE owner_of_something; CREATE TABLE owned (a int); ALTER TABLE owned OWNER TO owner_of_something"
    )
    try:
        with pytest.raises(DatabaseError, match="nobody's"):
            setup_role(postgres_server.dsn("postgres"), role=role)
    finally:
        admin.execute("DROP TABLE owned; DROP ROLE owner_of_something")


def test_a_role_that_may_not_make_roles_is_told_so(postgres_server):
    with pytest.raises(DatabaseError, match="cannot set up the role"):
        setup_role(postgres_server.dsn(), role=ROLE)


def test_a_server_that_cannot_be_reached_is_said(tmp_path):
    with pytest.raises(DatabaseError, match="cannot set up the role") as caught:
        setup_role(f"host={tmp_path} password=hidden", role=ROLE)
    assert "hidden" not in str(caught.value)
