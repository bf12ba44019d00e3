"""Which dialects a server can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trellis.errors import CapabilityError, ConnectionLostError, DatabaseError
from trellis_postgres.config import PostgresConfig
from trellis_postgres.dialects.base import HintDialect
from trellis_postgres.dialects.pg_hint_plan import PgHintPlan
from trellis_postgres.dialects.pg_plan_advice import PgPlanAdvice
from trellis_postgres.dialects.rewrite import Rewrite
from trellis_postgres.session import Session

_BEST_FIRST: tuple[type[HintDialect], ...] = (PgHintPlan, PgPlanAdvice, Rewrite)
DIALECTS: Mapping[str, type[HintDialect]] = {dialect.name: dialect for dialect in _BEST_FIRST}
"""By name."""
_PLACES = ("{}", "$libdir/plugins/{}")
"""Where a library is looked for; from the second one a role that is no superuser may load."""


def choose_dialect(address: Callable[[], str], config: PostgresConfig) -> tuple[HintDialect, Session]:
    """Return the dialect that the configuration asks for, or the best that the server can do, and a session with it loaded.

    Args:
        address: Returns the DSN.
        config: Its `dialect` decides.

    Raises:
        CapabilityError: The server cannot do the dialect asked for.
        ConnectionLostError: It cannot be reached.
    """
    refused = ""
    for dialect in _BEST_FIRST:
        if config.dialect not in ("auto", dialect.name):
            continue
        if dialect.library is None:
            return dialect(), Session(address, config)
        for library in _libraries(address, config, dialect.library):
            session = Session(address, config, libraries=library)
            try:
                session.server_version()
                return dialect(), session
            except ConnectionLostError:
                raise
            except DatabaseError as error:
                session.close()
                refused = str(error)
    raise CapabilityError(
        "postgres",
        capability=f"dialect {config.dialect} on this server",
        mend=f"{refused} Install the extension and name it in session_preload_libraries, or set `dialect: rewrite`.",
    )


def _libraries(address: Callable[[], str], config: PostgresConfig, library: str) -> list[tuple[str, ...]]:
    """Return what to load: nothing where the server has the module in every session, else the places to try."""
    plain = Session(address, config)
    try:
        count = plain.run(
            "SELECT count(*) FROM pg_catalog.pg_settings WHERE name LIKE $1",
            (f"{library}.%",),
            timeout_ms=config.explain_timeout_ms,
        )
    finally:
        plain.close()
    return [()] if count.rows[0][0] != b"0" else [(place.format(library),) for place in _PLACES]
