"""What can be set of the prompts."""

from typing import Annotated

from pydantic import Field

from trellis.component import Config

Count = Annotated[int, Field(ge=0)]


class PromptConfig(Config):
    """What every prompt has."""

    template: str | None = None
    """A jinja2 file instead of the one that comes with the plugin; it gets the same variables."""

    methods: bool = True
    """Whether hints say how joins are made (HashJoin, …): those shown, and those asked for."""

    scans: bool = True
    """Whether hints say how tables are read (SeqScan, …): those shown, and those asked for."""

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """The longest prompt: references are left out first, the least similar before others, then the history, the oldest first;
    never a part of one. Left out, there is no limit."""

    tokenizer: str | None = None
    """Counts the tokens: a directory or a name on the hub, as transformers reads it. Left out, they are estimated."""

    chars_per_token: Annotated[float, Field(gt=0)] = 3.0
    """The estimate, without a tokenizer; hints and SQL have 3 to 4 with the vocabularies of large models, 1 with characters."""


class SefrqoConfig(PromptConfig):
    """How much of what SEFRQO shows."""

    references: Count = 1
    """Similar queries shown, each with statistics and its best hints; those alone where hints beat the default plan."""

    history: Count = 3
    """Other hints shown that were tried on this query, the newest first; the best so far is shown in any case."""

    sql: bool = False
    """Whether the query's text is shown too, as in SEFRQO's fine-tuning prompt. It is data of whoever wrote the query."""


class CompactConfig(PromptConfig):
    """What a small model reads."""

    methods: bool = False
    """Whether hints say how joins are made (HashJoin, …): those shown, and those asked for."""

    scans: bool = False
    """Whether hints say how tables are read (SeqScan, …): those shown, and those asked for."""

    chars_per_token: Annotated[float, Field(gt=0)] = 1.0
    """The estimate of the prompt's length, without a tokenizer."""

    canonical: bool = True
    """Whether relations are called t1, t2, … in the fingerprint's order, in prompt and answer; if not, by their aliases in the
    order of the query."""

    columns: bool = False
    """Whether join conditions are written with their columns."""

    conditions: bool = False
    """Whether the conditions on each relation are shown, with their literals: where columns depend on each other the planner's
    estimates are wrong, and a model can only know it by the columns. It is data of whoever wrote the query."""

    default: bool = True
    """Whether the database's own plan is shown, as hints."""

    neighbours: Count = 1
    """Best hints shown of so many queries with the same fingerprint, renamed to this query's names."""

    decimals: Annotated[int, Field(ge=0, le=3)] = 0
    """Decimals of the selectivities, which are written as logarithms to base 2."""


class PlainConfig(PromptConfig):
    """What an instruct model reads."""

    references: Count = 2
    """Similar queries shown, each with its SQL and its best hints; those alone where hints beat the default plan."""

    history: Count = 3
    """Hints shown that were tried on this query, the newest first."""

    default: bool = True
    """Whether the database's own plan is shown, as hints."""
