"""Prompts for plan hints: what a language model reads of a query before it writes hints for it.

`{use: sefrqo}` is the prompt of that system with keywords that exist, `compact` a short one for small models trained from
scratch, `plain` one with schema and SQL for instruct models. Each is a jinja2 template that `template: my.j2` replaces; all
need `pip install 'trellis[prompts]'`.
"""

from collections.abc import Iterable

from trellis import Component, Need, hookimpl
from trellis_prompts.config import CompactConfig, PlainConfig, SefrqoConfig


@hookimpl
def trellis_prompt_builders() -> Iterable[Component]:
    """Return the prompt builders of this plugin."""
    yield Component(
        "sefrqo",
        "SEFRQO's prompt: statistics, references, PostgreSQL's plan, the best so far",
        SefrqoConfig,
        "trellis_prompts.sefrqo:Sefrqo",
        needs={"database": Need("database", optional=True)},
        extra="prompts",
        modules=("jinja2",),
    )
    yield Component(
        "compact",
        "a short form with canonical names, for small models",
        CompactConfig,
        "trellis_prompts.compact:Compact",
        extra="prompts",
        modules=("jinja2",),
    )
    yield Component(
        "plain",
        "schema, SQL and instructions, for instruct models",
        PlainConfig,
        "trellis_prompts.plain:Plain",
        extra="prompts",
        modules=("jinja2",),
    )
