"""Queries by what decides on their plans: tables, join conditions, filters, constants and selectivities.

Five groups of features, each a vector of length 1 times its weight, so that the cosine of two queries is the mean of the groups'
cosines by squared weight. Structure and values are hashed into a half of the vector each: values never blur the structure.

Constants and selectivities are compared by magnitude: a number x lies at s = sign(x) log2(1 + |x|), a date at its day, a
selectivity p at log2 p. On an axis of bins of width w the position s/w = i + f gives √(1-f) to bin i and √f to bin i+1: length 1
wherever it lies, and a dot product that falls from 1 to 0 as two values move apart by two bins. Two widths per axis make close
values close and still tell far from very far. Constants of any kind also count as themselves, by `EXACT`.

Names of aliases do not matter; the second of two relations of one table, in the canonical order (`Query.canonical`), is another
feature than the first.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from hashlib import blake2b
from math import floor, log2, sqrt

from trellis import DatabaseBackend, Embedder
from trellis.errors import ConnectionLostError, SQLError
from trellis.sql.estimates import ON_THEIR_OWN, estimates
from trellis.sql.query import Query, Relation
from trellis_embed.config import SQLFeaturesConfig
from trellis_embed.hashing import hash_features, normalised

_NAME = r'(?:"(?:[^"]|"")*"|[a-z_]\w*)'
_TOKEN = re.compile(
    rf"""(?P<string>'(?:[^']|'')*')|(?P<alias>{_NAME})\.(?P<column>{_NAME})|(?P<number>(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)"""
    r"""|(?P<word>\w+)|(?P<other>.)""",
    re.DOTALL | re.IGNORECASE,
)
_LISTED = re.compile(r"\?(?:, \?)+")
_CONNECTIVE = re.compile(r" (?:AND|OR) ")
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_QUANTITY = re.compile(r"([-+]?\d+(?:\.\d+)?) ?([a-z]*)", re.IGNORECASE)

LOG_WIDTHS = (1.0, 4.0)
"""Widths of bins of numbers and selectivities: factors of 2 and 16."""
DAY_WIDTHS = (30.0, 365.0)
"""Widths of bins of dates, in days."""
EXACT = 0.5
"""Weight of being the same constant, beside that of being as large."""


class SQLFeatures(Embedder):
    """Hashed features of join graphs, conditions and constants.

    With a database, the planner's selectivity of each table is a feature too: a vector then changes with the planner's statistics
    although the version does not. A query that the database can no longer plan, because a table is gone, has none.
    """

    Config = SQLFeaturesConfig

    def __init__(self, config: SQLFeaturesConfig, *, database: DatabaseBackend | None = None) -> None:
        self.config = config
        self.database = database

    @property
    def version(self) -> str:
        """The scheme, the weights, and whether selectivities are there."""
        weights = blake2b(self.config.model_dump_json().encode(), digest_size=4).hexdigest()
        return f"sql-features-1-{weights}" + ("" if self.database is None else "-estimates")

    def embed(self, queries: Sequence[Query]) -> list[tuple[float, ...]]:
        """Return a vector for each query.

        Raises:
            ConnectionLostError: The database went away.
        """
        return [self._vector(query) for query in queries]

    def _vector(self, query: Query) -> tuple[float, ...]:
        config = self.config
        structure, literals = query_features(query)
        tables = {f"table {label}": 1.0 for label in _labels(query).values()}
        half = config.dimension // 2
        shape = [0.0] * half
        for weight, group in (
            (config.tables, tables),
            (config.edges, structure["edge"]),
            (config.filters, structure["filter"]),
        ):
            _add(shape, weight, group)
        values = [0.0] * (config.dimension - half)
        _add(values, config.literals, literals)
        if self.database is not None and config.selectivities:
            _add(values, config.selectivities, self._selectivities(query, self.database))
        return normalised(shape + values)

    def _selectivities(self, query: Query, database: DatabaseBackend) -> Mapping[str, float]:
        try:
            plan = database.explain(query, ON_THEIR_OWN)
        except ConnectionLostError:
            raise
        except SQLError:
            return {}
        known = estimates(plan, query, database.catalog())
        return {
            feature: value
            for alias, label in _labels(query).items()
            if alias in known and (share := known[alias].selectivity) is not None
            for feature, value in _bins(f"share {label}", log2(share), LOG_WIDTHS)
        }


def query_features(query: Query) -> tuple[dict[str, Counter[str]], dict[str, float]]:
    """Return the features of a query's conditions: of join graph and filters, and of the constants in these.

    Returns:
        "edge" and "filter": how often each is there; and the constants' features with their values.
    """
    structure: dict[str, Counter[str]] = {"edge": Counter(), "filter": Counter()}
    literals: defaultdict[str, float] = defaultdict(float)
    for block in query.blocks:
        tables = {relation.alias: _table(relation) for relation in block.relations}
        for edge in block.edges:
            structure["edge"][_sorted(_template(edge.condition, tables)[0])] += 1
        for outer in block.outer_joins:
            structure["edge"][f"left {_sorted(_template(outer.condition, tables)[0])}"] += 1
        for alias, conditions in block.filters.items():
            for condition in conditions:
                template, columns, constants = _template(condition, tables)
                structure["filter"][f"{tables[alias]}: {template}"] += 1
                structure["filter"].update(f"on {column}" for column in columns)
                for feature, value in _literal_features(f"{tables[alias]}: {template}", constants):
                    literals[feature] += value
    return structure, literals


def _template(condition: str, tables: Mapping[str, str]) -> tuple[str, list[str], list[tuple[int, str]]]:
    """Read a condition in its normal form.

    Returns:
        The condition with tables for aliases and ? for constants, several in a list as one; the columns; the constants, each with
        the number of its ?.
    """
    written: list[str] = []
    columns: list[str] = []
    constants: list[tuple[int, str]] = []
    place = -1
    for token in _TOKEN.finditer(condition):
        constant = token["string"] or token["number"]
        if constant is not None:
            # A list of constants is one place.
            if written[-2:] != ["?", ", "]:
                place += 1
            constants.append((place, constant))
            written.append("?")
        elif token["alias"] is not None:
            alias = token["alias"]
            bare = alias[1:-1].replace('""', '"') if alias.startswith('"') else alias
            column = f"{tables.get(bare, alias)}.{token['column']}"
            columns.append(column)
            written.append(column)
        else:
            text = token.group()
            if text == " " and written and written[-1] == ",":
                written[-1] = ", "
            else:
                written.append(text)
    return _LISTED.sub("?", "".join(written)), list(dict.fromkeys(columns)), constants


def _sorted(template: str) -> str:
    """Write a condition so that the order of aliases, by which it was written, does not show."""
    parts = [" = ".join(sorted(part.split(" = "))) for part in _CONNECTIVE.split(template)]
    connective = _CONNECTIVE.search(template)
    return (connective.group() if connective else "").join(sorted(parts))


def _literal_features(name: str, constants: Sequence[tuple[int, str]]) -> Iterator[tuple[str, float]]:
    sizes = Counter(place for place, _ in constants)
    features: defaultdict[str, float] = defaultdict(float)
    for place, constant in constants:
        key, share = f"{name} {place}", 1 / sqrt(sizes[place])
        features[f"{key} is {constant}"] += EXACT * share
        for feature, value in _magnitude(key, constant):
            features[feature] += share * value
    yield from features.items()


def _magnitude(key: str, constant: str) -> Iterator[tuple[str, float]]:
    """Yield where a constant lies on its axis; nothing for a text."""
    text = constant.strip("'")
    day = _DATE.match(text)
    if day is not None:
        try:
            yield from _bins(f"{key} day", float(date(*map(int, day.groups())).toordinal()), DAY_WIDTHS)
        except ValueError:
            return
    elif (quantity := _QUANTITY.fullmatch(text)) is not None:
        number, unit = float(quantity[1]), quantity[2].lower()
        yield from _bins(f"{key} size {unit}", log2(1 + abs(number)) * (-1 if number < 0 else 1), LOG_WIDTHS)


def _bins(key: str, position: float, widths: Sequence[float]) -> Iterator[tuple[str, float]]:
    for width in widths:
        bin_number = floor(position / width)
        fraction = position / width - bin_number
        yield f"{key} /{width:g} {bin_number}", sqrt(1 - fraction)
        yield f"{key} /{width:g} {bin_number + 1}", sqrt(fraction)


def _labels(query: Query) -> dict[str, str]:
    """Return each relation's table by alias, numbered where several are of one table."""
    ordered = sorted(
        (relation for relation in query.relations if relation.alias in query.canonical),
        key=lambda relation: int(query.canonical[relation.alias][1:]),
    )
    seen: Counter[str] = Counter()
    labels = {}
    for relation in ordered:
        table = _table(relation)
        seen[table] += 1
        labels[relation.alias] = f"{table} {seen[table]}"
    return labels


def _table(relation: Relation) -> str:
    return relation.name.rpartition(".")[2] if relation.kind == "table" and relation.name else relation.kind


def _add(vector: list[float], weight: float, features: Mapping[str, float]) -> None:
    length = sqrt(sum(value * value for value in features.values()))
    if length > 0 and weight > 0:
        for place, value in enumerate(hash_features(features, len(vector))):
            vector[place] += weight * value / length
