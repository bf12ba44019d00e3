"""Checks of every kind: the record, the configuration and the constructor."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from importlib import metadata

from pydantic import ValidationError

from trellis.component import Config
from trellis.contracts import CONTRACTS, LearnedReward, TrainablePolicy
from trellis.testing.check import Check, CheckSkipped, Subject, expect

HEAVY = ("chromadb", "duckdb", "psycopg", "torch", "transformers", "vllm")
"""What a module must not bring along when it is only listed or checked against a pipeline."""

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def entry_point_is_light(subject: Subject) -> None:
    """Listing plugins and checking pipelines would take seconds if an entry point imported torch.

    Move the import into the component's own module, and name that module in the record as "module:Class".
    """
    record, plugin = subject.component.record, subject.component.plugin
    found = metadata.entry_points(group="trellis", name=plugin)
    if not found:
        raise CheckSkipped(f"no entry point is named '{plugin}': it is a local file")
    config = record.config if isinstance(record.config, str) else record.config.__module__
    modules = [entry.value.partition(":")[0] for entry in found] + [config.partition(":")[0]]
    program = (
        "import importlib, json, sys\n"
        "sys.path[:], modules, heavy = json.loads(sys.argv[1])\n"
        "for module in modules: importlib.import_module(module)\n"
        "print(json.dumps(sorted(set(heavy) & set(sys.modules))))"
    )
    arguments = json.dumps([sys.path, modules, HEAVY])
    done = subprocess.run([sys.executable, "-c", program, arguments], capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"importing {modules} alone fails:\n{done.stderr.strip()}")
    brought = json.loads(done.stdout.splitlines()[-1])
    expect(not brought, f"importing {modules} imports {', '.join(brought)}")


def name_is_well_formed(subject: Subject) -> None:
    """Names are typed in YAML and on command lines, so they all follow one form.

    Use lower-case words joined by hyphens for the name, and one line without a line break for the summary.
    """
    record = subject.component.record
    expect(NAME.fullmatch(record.name), f"the name {record.name!r} is not lower-case words joined by hyphens")
    expect(record.summary.strip(), "the summary is empty")
    expect("\n" not in record.summary, f"the summary {record.summary!r} is longer than a line")


def capabilities_are_known(subject: Subject) -> None:
    """A misspelt capability switches off the checks and the runtime paths it was meant to switch on.

    The contract's docstring lists the capabilities of its kind.
    """
    component = subject.component
    listed = inspect.getdoc(CONTRACTS[component.kind]) or ""
    unknown = [name for name in sorted(component.record.capabilities) if f'"{name}"' not in listed]
    expect(not unknown, f"the contract of a {component.kind} knows no capability {unknown}:\n{listed}")


def capabilities_match_the_class(subject: Subject) -> None:
    """The pipeline check believes the record, the runtime uses the class: they must say the same.

    "trainable" belongs to a `TrainablePolicy` and "learned" to a `LearnedReward`, each exactly.
    """
    factory, kind = subject.component.record.load_factory(), subject.component.kind
    pairs = {"policy": ("trainable", TrainablePolicy), "reward": ("learned", LearnedReward)}
    if kind not in pairs:
        raise CheckSkipped("no capability of this kind stands for a class")
    capability, base = pairs[kind]
    is_one, says_so = issubclass(factory, base), subject.offers(capability)
    verb = "is" if is_one else "is not"
    declared = "declares" if says_so else "does not declare"
    expect(is_one == says_so, f"{factory.__name__} {verb} a {base.__name__}, but the record {declared} {capability!r}")


def class_implements_the_contract(subject: Subject) -> None:
    """Whatever takes the component calls the methods of its contract.

    Derive the class from the contract of its kind and implement every abstract method.
    """
    factory, contract = subject.component.record.load_factory(), CONTRACTS[subject.component.kind]
    expect(inspect.isclass(factory) and issubclass(factory, contract), f"{factory!r} is no subclass of {contract!r}")
    missing = sorted(getattr(factory, "__abstractmethods__", ()))
    expect(not missing, f"{factory.__name__} does not implement {', '.join(missing)}")


def class_names_its_config(subject: Subject) -> None:
    """In Python a component is made as `X(X.Config(...))`, without looking for the module of its configuration.

    Set the class attribute `Config` to the class that the record gives as `config`.
    """
    record = subject.component.record
    factory, config = record.load_factory(), record.load_config()
    expect(hasattr(factory, "Config"), f"{factory.__name__} has no attribute `Config`")
    expect(factory.Config is config, f"{factory.__name__}.Config is {factory.Config!r}, the record says {config!r}")


def constructor_takes_config_and_needs(subject: Subject) -> None:
    """Everything that shapes a component is either in its configuration, so in YAML, or a named collaborator.

    Write `__init__(self, config, *, a, b)` with one argument for each of the record's `needs`, and nothing else.
    """
    record = subject.component.record
    first, *others = inspect.signature(record.load_factory()).parameters.values()
    expect(first.name == "config", f"the constructor's first argument is '{first.name}', not 'config'")
    star = [str(one) for one in others if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    expect(not star, f"the constructor takes {', '.join(star)}: anything at all")
    names, needs = {one.name for one in others}, set(record.needs)
    expect(
        names == needs, f"the constructor takes {sorted(names)} beside config, the record's needs are {sorted(needs)}"
    )


def can_be_made(subject: Subject) -> None:
    """A component that cannot be made from a valid configuration cannot be used.

    Make it in Python as `Class(Class.Config(), ...)`; the traceback tells more.
    """
    subject.make()


def config_is_closed_and_frozen(subject: Subject) -> None:
    """A misspelt key must be an error, and a configuration in use must not change.

    Derive the class from `trellis.Config` and leave its `model_config` alone.
    """
    config = subject.component.record.load_config()
    expect(issubclass(config, Config), f"{config!r} is no subclass of trellis.Config")
    try:
        config.model_validate({"no-such-field": 1})
        faults = set()
    except ValidationError as error:
        faults = {fault["type"] for fault in error.errors()}
    expect("extra_forbidden" in faults, f"{config.__name__} takes a key that is no field")
    expect(config.model_config.get("frozen"), f"{config.__name__} is not frozen")


def config_fields_are_described(subject: Subject) -> None:
    """The description is what `trellis fill`, the JSON Schema and an editor show a person.

    Write a docstring under each field; it may be one line.
    """
    fields = subject.component.record.load_config().model_fields
    silent = [name for name, info in fields.items() if not (info.description or "").strip()]
    expect(not silent, f"no description: {', '.join(silent)}")


def config_fields_have_defaults(subject: Subject) -> None:
    """`{use: name}` alone should work; a field without a default stops a person until they have read about it.

    Give it a default, or let its description begin with "Required:" and say where the value comes from.
    """
    fields = subject.component.record.load_config().model_fields
    required = [(name, info.description or "") for name, info in fields.items() if info.is_required()]
    bare = [name for name, description in required if "required" not in description.lower()]
    expect(not bare, f"neither a default nor the word 'Required' in its description: {', '.join(bare)}")


def config_has_a_json_schema(subject: Subject) -> None:
    """Editors complete and check pipeline files by the JSON Schema.

    Use types that JSON Schema can express; write a default as a plain value.
    """
    schema = subject.component.record.load_config().model_json_schema()
    json.dumps(schema, allow_nan=False)


def config_survives_json(subject: Subject) -> None:
    """A run is resumed from the configuration written down when it began.

    Use fields whose JSON form is valid input again, of the same value: `str` instead of `Path`, no NaN, no infinity.
    """
    config = subject.make_config()
    written = json.dumps(config.model_dump(mode="json"), allow_nan=False)
    again = type(config).model_validate(json.loads(written))
    expect(again == config, f"{config!r} becomes {again!r}")


CHECKS = tuple(
    Check.of(None, function)
    for function in (
        entry_point_is_light,
        name_is_well_formed,
        capabilities_are_known,
        capabilities_match_the_class,
        class_implements_the_contract,
        class_names_its_config,
        constructor_takes_config_and_needs,
        can_be_made,
        config_is_closed_and_frozen,
        config_fields_are_described,
        config_fields_have_defaults,
        config_has_a_json_schema,
        config_survives_json,
    )
)
