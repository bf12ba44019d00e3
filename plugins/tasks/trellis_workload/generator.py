"""A workload from a seed: the statements that make its database, and its queries in splits that never overlap."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from trellis.errors import TrellisError, did_you_mean
from trellis.procedural import split_of
from trellis.types import Split
from trellis_workload.config import GeneratorConfig, Shape
from trellis_workload.shop import make_shop
from trellis_workload.templates import TEMPLATES, Template

_MAX_MISSES = 1000
"""Draws in a row without a new query after which a template is taken to have no more."""


class WorkloadError(TrellisError):
    """A workload cannot be made as its config asks, or not be loaded into this database."""


@dataclass(frozen=True, slots=True)
class GeneratedQuery:
    """One query of a generated workload.

    Attributes:
        id: The template's name and the number of the query among the template's, e.g. `hub_facts-007`.
        template: The template's name.
        shape: The shape of its join graph.
        split: Where it belongs.
        sql: One SELECT.
    """

    id: str
    template: str
    shape: Shape
    split: Split
    sql: str


@dataclass(frozen=True, slots=True)
class Workload:
    """A database and what is asked of it.

    Attributes:
        schema: CREATE TABLE statements.
        load: INSERT and CREATE INDEX statements.
        finish: VACUUM and ANALYZE, to be run outside a transaction.
        queries: In the order of templates, then of ids.
    """

    schema: tuple[str, ...]
    load: tuple[str, ...]
    finish: tuple[str, ...]
    queries: tuple[GeneratedQuery, ...]

    @property
    def data_digest(self) -> str:
        """A digest of the statements that make the database: equal digests, equal rows."""
        text = "\0".join((*self.schema, *self.load, *self.finish))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def split(self, split: Split) -> tuple[GeneratedQuery, ...]:
        """Return the queries of one split."""
        return tuple(query for query in self.queries if query.split == split)


def generate(config: GeneratorConfig) -> Workload:
    """Return the workload of a config: the same in every process and on every machine.

    A query's text decides its split (seven in ten train, one validation, two test), so that a query is in the same split
    whatever else is generated; those of held-out templates are all in `test`. A template's queries do not depend on the
    other templates, and fewer of them are the beginning of more.

    Raises:
        WorkloadError: A template has no such name, none is left, or a template has too few different queries.
    """
    templates = _templates(config)
    shop = make_shop(seed=config.seed, scale=config.scale)
    queries: list[GeneratedQuery] = []
    for number, template in enumerate(templates):
        count = config.num_queries // len(templates) + (number < config.num_queries % len(templates))
        queries.extend(_queries(template, config, count))
    return Workload(shop.schema, shop.load, shop.finish, tuple(queries))


def _templates(config: GeneratorConfig) -> list[Template]:
    names = [template.name for template in TEMPLATES]
    for field, asked in (("templates", config.templates or ()), ("held_out", config.held_out)):
        for name in asked:
            if name not in names:
                raise WorkloadError(f"{field}: no template is named '{name}'{did_you_mean(name, names)}")
    wanted = names if config.templates is None else config.templates
    chosen = [template for template in TEMPLATES if template.shape in config.shapes and template.name in wanted]
    if not chosen:
        raise WorkloadError(
            f"none of the templates {', '.join(wanted)} has one of the shapes {', '.join(config.shapes)}: leave out "
            "`shapes` or `templates`"
        )
    unused = sorted(set(config.held_out) - {template.name for template in chosen})
    if unused:
        raise WorkloadError(
            f"held_out: {', '.join(unused)} is not among the templates drawn from; add it to `templates`"
        )
    return chosen


def _queries(template: Template, config: GeneratorConfig, count: int) -> Sequence[GeneratedQuery]:
    # A string seeds `Random` through SHA-512: the same numbers whatever PYTHONHASHSEED is.
    random = Random(f"{config.seed}/{template.name}")
    texts: dict[str, None] = {}
    misses = 0
    while len(texts) < count:
        sql = template.sql(random)
        misses = misses + 1 if sql in texts else 0
        if misses == _MAX_MISSES:
            raise WorkloadError(
                f"the template '{template.name}' is to give {count} different queries, but only {len(texts)} were found. "
                "Lower `num_queries`, or draw from more templates."
            )
        texts[sql] = None
    held_out = template.name in config.held_out
    return [
        GeneratedQuery(
            f"{template.name}-{number:03}", template.name, template.shape, "test" if held_out else split_of(sql), sql
        )
        for number, sql in enumerate(texts)
    ]
