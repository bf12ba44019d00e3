"""What a query may do: one SELECT that only reads.

Three walls stand one behind the other, and none of them leans on the next: this check of the syntax tree, a backend's own
reading of the text and its catalog, and a read-only transaction under a role that may only read. A list of names can never be
complete, which is why it is not the only wall; it gives the clearest message.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from trellis.errors import UnsafeQueryError

if TYPE_CHECKING:
    from sqlglot.expressions import Expr, Func

_POSTGRES = (
    r"(nextval|setval|currval|lastval|set_config|setseed)",
    r"(pg_sleep|pg_sleep_for|pg_sleep_until)",
    r"(pg_read_file|pg_read_binary_file|pg_stat_file|pg_ls_\w+|pg_current_logfile|pg_file_\w+|pg_logfile_\w+)",
    r"(lo_\w+|loread|lowrite)",
    r"(dblink|dblink_\w+|postgres_fdw_\w+)",
    r"(pg_terminate_backend|pg_cancel_backend|pg_reload_conf|pg_rotate_logfile|pg_promote|pg_switch_wal|pg_log_\w+)",
    r"(pg_advisory_\w+|pg_try_advisory_\w+)",
    r"(query_to_xml\w*|cursor_to_xml\w*|table_to_xml\w*|schema_to_xml\w*|database_to_xml\w*)",
    r"(pg_notify|pg_logical_\w+|pg_replication_\w+|pg_create_\w+|pg_drop_\w+|pg_copy_\w+|pg_export_snapshot)",
    r"(pg_backup_\w+|pg_start_backup|pg_stop_backup|pg_wal_\w+|pg_stat_reset\w*|pg_import_\w+|binary_upgrade_\w+)",
    r"(txid_current|pg_current_xact_id|pg_hba_file_rules|pg_show_all_\w+|pg_execute_server_program)",
    r"(crosstab\w*|connectby|ts_stat|xpath_table)",
)
_DUCKDB = (
    r"(read_\w+|sniff_csv|parquet_\w+|glob|getenv|\w+_scan|query|query_table|nextval|currval|setseed|load_aws_credentials)",
)
_DANGEROUS = {
    dialect: re.compile("|".join(patterns)) for dialect, patterns in {"postgres": _POSTGRES, "duckdb": _DUCKDB}.items()
}
"""By dialect: functions that read files, reach other servers, change state or settings, wait, or run text as SQL."""


def is_dangerous(function: str, *, dialect: str) -> bool:
    """Whether a function, by its name without a schema, may not be called; upper and lower case are the same here."""
    names = _DANGEROUS.get(dialect)
    return names is not None and names.fullmatch(function.lower()) is not None


def is_allowed(schema: str | None, function: str, *, allow_functions: Collection[str]) -> bool:
    """Whether a function is in a list of "name" (whatever its schema) and "schema.name"."""
    return function in allow_functions or (schema is not None and f"{schema}.{function}" in allow_functions)


def check_safe(tree: Expr, *, dialect: str, allow_functions: Collection[str] = ()) -> None:
    """Refuse everything but one SELECT, UNION, VALUES or WITH … SELECT that calls nothing dangerous.

    Args:
        tree: The syntax tree of one statement.
        dialect: sqlglot's name of its language.
        allow_functions: Functions to let through, as "name" or "schema.name".

    Raises:
        UnsafeQueryError: It names what was found.
    """
    from sqlglot import exp

    root = tree.unnest()
    if not isinstance(root, exp.Query | exp.Values):
        raise UnsafeQueryError(
            _statement(root), reason="only a SELECT may be sent", mend="Give one SELECT, or WITH … SELECT."
        )
    for node in tree.walk():
        if isinstance(node, exp.DML | exp.DDL | exp.Command | exp.Copy | exp.Set | exp.Transaction) and not isinstance(
            node, exp.Query
        ):
            raise UnsafeQueryError(
                _statement(node), reason="it changes data or state", mend="Only SELECT may stand anywhere in a query."
            )
        if isinstance(node, exp.Lock):
            raise UnsafeQueryError(
                "FOR UPDATE" if node.args.get("update") else "FOR SHARE",
                reason="it locks rows, which is a write",
                mend="Leave the locking clause out.",
            )
        if isinstance(node, exp.Into):
            raise UnsafeQueryError(
                node.sql(dialect=dialect).strip(),
                reason="it makes a table",
                mend="Leave INTO out; the rows are returned.",
            )
        if isinstance(node, exp.Placeholder | exp.Parameter):
            raise UnsafeQueryError(
                node.sql(dialect=dialect), reason="it has no value", mend="Write the value in the parameter's place."
            )
        if isinstance(node, exp.Func) and not isinstance(node, exp.Connector):
            schema = _schema(node)
            for name in _names(node):
                if is_dangerous(name, dialect=dialect) and not is_allowed(
                    schema, name, allow_functions=allow_functions
                ):
                    raise dangerous(name)


def dangerous(function: str) -> UnsafeQueryError:
    """Return the error for a call that may not be."""
    return UnsafeQueryError(
        function,
        reason="the function reads files, reaches other servers, changes state, waits, or runs text as SQL",
        mend="Leave it out, or name it in `allow_functions`.",
    )


def _names(node: Func) -> list[str]:
    """Return the names of a call: the one that is written, or those that all stand for a function the parser knows."""
    from sqlglot import exp

    return [node.name.lower()] if isinstance(node, exp.Anonymous) else [name.lower() for name in type(node).sql_names()]


def _schema(node: Func) -> str | None:
    from sqlglot import exp

    if not isinstance(node.parent, exp.Dot) or node.arg_key != "expression":
        return None
    before = node.parent.this
    return str((before.expression if isinstance(before, exp.Dot) else before).name).lower()


def _statement(node: Expr) -> str:
    from sqlglot import exp

    if isinstance(node, exp.Command):
        return str(node.this).upper()
    # What the parser takes for an expression, as in "LISTEN x", is best named by its first word.
    return (node.key if isinstance(node, exp.DML | exp.DDL) else (node.sql() or node.key).split()[0]).upper()
