"""The role that statements run as: it may read the tables of some schemas, and nothing else.

`pg_read_all_data` is not used on purpose: it reads pg_authid too, where password hashes are.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TypeAlias

import psycopg
from psycopg import sql

from trellis.errors import DatabaseError

ROLE = "trellis_reader"
_ATTEMPTS = 10
Statement: TypeAlias = sql.SQL | sql.Composed
_NO_RIGHTS = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
_SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1"


def setup_role(
    admin_dsn: str,
    *,
    role: str = ROLE,
    schemas: Sequence[str] | None = None,
    login: bool = False,
    password: str | None = None,
    restrict_public: bool = False,
    dry_run: bool = False,
) -> tuple[str, ...]:
    """Make the role that may only read, or bring one that is there to the same state; may be run again.

    Without `login` it is granted to the role that connects, which then uses it as `role`; with it, a DSN can name it.

    Args:
        admin_dsn: Connects as a role that may make roles and grant rights on the schemas.
        role: Its name.
        schemas: Whose tables it may read, those made later by the connecting role included; left out, all but the system's.
        login: Whether it can connect itself.
        password: For connecting.
        restrict_public: Whether to take from every role what PostgreSQL grants to all: making tables in `public` (before
            version 15) and temporary tables in the database. It changes what other roles may do.
        dry_run: Whether to return the statements without running them.

    Returns:
        The statements, a password in them shown as ***.

    Raises:
        DatabaseError: The server cannot be reached or refuses; or the role is there and is a superuser or owns something.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with psycopg.connect(admin_dsn, autocommit=False) as connection:
                _check_free(connection, role)
                known = [name for (name,) in connection.execute(_SCHEMAS).fetchall()] if schemas is None else schemas
                statements = _statements(connection, role, known, login, password, restrict_public)
                if not dry_run:
                    for statement, _ in statements:
                        connection.execute(statement)
                return tuple(shown.as_string(connection) for _, shown in statements)
        except psycopg.errors.InternalError_ as error:
            # Roles belong to all databases of a server, and PostgreSQL refuses to change one twice at once.
            if "concurrently" not in str(error) or attempt == _ATTEMPTS:
                raise _refused(role, error) from None
            time.sleep(0.05 * attempt)
        except psycopg.Error as error:
            raise _refused(role, error) from None
    raise AssertionError("unreachable")


def _refused(role: str, error: psycopg.Error) -> DatabaseError:
    said = " ".join(str(error).split())
    return DatabaseError(f"cannot set up the role {role}: {said}", sqlstate=error.sqlstate)


def _check_free(connection: psycopg.Connection, role: str) -> None:
    # Turning somebody's administrator into a reader would lock them out.
    found = connection.execute(
        "SELECT rolsuper OR EXISTS (SELECT 1 FROM pg_class WHERE relowner = r.oid), rolname = session_user "
        "FROM pg_roles r WHERE rolname = %s",
        (role,),
    ).fetchone()
    if found is not None and any(found):
        raise DatabaseError(f"the role {role} is there already, as a superuser or owner: name one that is nobody's")


def _statements(
    connection: psycopg.Connection,
    role: str,
    schemas: Sequence[str],
    login: bool,
    password: str | None,
    restrict_public: bool,
) -> list[tuple[Statement, Statement]]:
    name, database = sql.Identifier(role), sql.Identifier(connection.info.dbname)
    rights = sql.SQL(f"{'LOGIN' if login else 'NOLOGIN'} {_NO_RIGHTS}")
    exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is not None
    plain: list[Statement] = []
    if not exists:
        plain.append(sql.SQL("CREATE ROLE {}").format(name))
    plain.append(sql.SQL("ALTER ROLE {} WITH {}").format(name, rights))
    plain.append(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(name))
    if not login:
        plain.append(sql.SQL("GRANT {} TO CURRENT_USER").format(name))
    plain.append(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, name))
    plain.append(sql.SQL("REVOKE CREATE, TEMPORARY ON DATABASE {} FROM {}").format(database, name))
    for each in schemas:
        schema = sql.Identifier(each)
        plain.append(sql.SQL("REVOKE CREATE ON SCHEMA {} FROM {}").format(schema, name))
        plain.append(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, name))
        plain.append(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}").format(schema, name))
        plain.append(sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA {} GRANT SELECT ON TABLES TO {}").format(schema, name))
    if restrict_public:
        plain.append(sql.SQL("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
        plain.append(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(database))
    statements: list[tuple[Statement, Statement]] = [(each, each) for each in plain]
    if password is not None:
        change = sql.SQL("ALTER ROLE {} PASSWORD {}")
        statements.append((change.format(name, sql.Literal(password)), change.format(name, sql.SQL("'***'"))))
    return statements
