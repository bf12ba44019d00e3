"""How a faulty component names the check that must find it."""

from trellis import Component
from trellis.plugins import RegisteredComponent

CASES = {}
"""By the name of the faulty class: the component, its config, and the id of the check that must fail."""

TRACES = frozenset({"traces"})
PARSE = frozenset({"traces", "parse"})
ORACLE = frozenset({"traces", "step-oracle"})
LEGAL = frozenset({"traces", "legal-steps"})
LEARNED = frozenset({"learned"})
CHOICES = frozenset({"choices"})
TRAINABLE = frozenset({"trainable"})


def register(cls, kind, *, name="faulty", config=None, capabilities=frozenset(), needs=None):
    """Describe a class as the registry would; the kit's policies all know their log-probabilities."""
    if kind == "policy":
        capabilities |= frozenset({"log-probs"})
    record = Component(
        name,
        "a component under check",
        config or cls.Config,
        f"{cls.__module__}:{cls.__name__}",
        needs=needs or {},
        capabilities=capabilities,
    )
    return RegisteredComponent(kind, "faulty", record, "faulty", "1.0")


def breaks(check, kind, *, given=None, **record):
    """Mark a class as one that breaks a single check; `given` is the config it is checked with."""

    def mark(cls):
        CASES[cls.__name__] = (register(cls, kind, **record), given or {}, check)
        return cls

    return mark
