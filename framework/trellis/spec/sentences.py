"""pydantic's errors as sentences about the values a person wrote."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trellis.errors import did_you_mean
from trellis.spec.document import NodePath

_EXPECTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a string",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "none_required": "null",
}
_LIMITS = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "too_short": "at least {min_length} items",
    "too_long": "at most {max_length} items",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a value.

    Attributes:
        path: The node it is about.
        message: What is wrong.
        at_key: Whether the key is at fault rather than the value.
        choices: The valid names, where the fault is a name.
    """

    path: NodePath
    message: str
    at_key: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Detail:
    """An error of pydantic, with the path to the node and, past a union, the member it is about."""

    path: NodePath
    given: Any
    error: ErrorDetails
    union: NodePath | None
    member: str


def faults(error: ValidationError, model: type[BaseModel], data: Any) -> list[Fault]:
    """Turn a validation error into faults, one for each thing that a person has to mend.

    Args:
        error: What `model` raised.
        model: The model; names the fields there are.
        data: What it was given.
    """
    details = list(_without_twins([_detail(each, data) for each in error.errors(include_url=False)]))
    found: list[Fault] = []
    unions: set[NodePath] = set()
    for detail in details:
        if detail.union is None:
            found.append(_fault(detail, model))
        elif detail.union not in unions:
            unions.add(detail.union)
            found += _union_faults([each for each in details if each.union == detail.union], model)
    return found


def show(value: Any) -> str:
    """Write a value as a person would in YAML, short and with its type where that matters."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, str):
        return f"the string {_shorten(repr(value))}"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    kind = "the mapping " if isinstance(value, dict) else "the list " if isinstance(value, list | tuple) else ""
    return kind + _shorten(text)


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"


def _detail(error: ErrorDetails, data: Any) -> _Detail:
    """Follow pydantic's location through the data; a part that is not in them names the member of a union."""
    path: NodePath = ()
    union: NodePath | None = None
    member = ""
    node = data
    location = [part for part in error["loc"] if part != "[key]"]
    for depth, part in enumerate(location):
        in_mapping = isinstance(node, Mapping) and part in node
        in_list = isinstance(node, list | tuple) and isinstance(part, int) and part < len(node)
        if in_mapping or in_list:
            path, node = (*path, part), node[part]
        elif error["type"] == "missing" and depth == len(location) - 1:
            path = (*path, part)
        elif union is None:
            union, member = path, str(part)
    return _Detail(path, node, error, union, member)


def _without_twins(details: list[_Detail]) -> Iterator[_Detail]:
    """Leave out that a field is missing where a misspelt key stands for it."""
    misspelt = [each.path for each in details if each.error["type"] == "extra_forbidden"]
    for detail in details:
        *around, name = detail.path or ("",)
        twins = [str(path[-1]) for path in misspelt if list(path[:-1]) == around]
        if detail.error["type"] != "missing" or not difflib.get_close_matches(str(name), twins):
            yield detail


def _union_faults(details: Sequence[_Detail], model: type[BaseModel]) -> list[Fault]:
    """Say in one sentence what would fit, unless the value is nearly one of the members: then what that one lacks."""
    by_member: dict[str, list[_Detail]] = {}
    for detail in details:
        by_member.setdefault(detail.member, []).append(detail)
    near = [each for each in by_member.values() if all(len(detail.path) > len(detail.union or ()) for detail in each)]
    if near:
        return [_fault(detail, model) for detail in min(near, key=len)]
    whole = [each[0] for each in by_member.values() if len(each[0].path) == len(each[0].union or ())]
    if len(whole) == 1:
        return [_fault(whole[0], model)]
    phrases = list(dict.fromkeys(_phrase(detail.error) for detail in whole))
    expected = " or ".join(phrases)
    return [Fault(whole[0].path, f"expected {expected}, got {show(whole[0].given)}")]


def _fault(detail: _Detail, model: type[BaseModel]) -> Fault:
    error, path = detail.error, detail.path
    kind, context = error["type"], error.get("ctx", {})
    name = str(path[-1]) if path else ""
    if kind == "missing":
        described = _fields_at(model, error["loc"][:-1]).get(name)
        first_line = described.partition("\n")[0].rstrip(".") if described else ""
        return Fault(path, f"'{name}' is missing" + (f": {first_line}" if first_line else ""), at_key=True)
    if kind == "extra_forbidden":
        choices = tuple(_fields_at(model, error["loc"][:-1]))
        listed = did_you_mean(name, choices) or "; there is nothing to set here"
        return Fault(path, f"unknown field '{name}'{listed}", at_key=True, choices=choices)
    if kind == "invalid_key" or error["loc"][-1:] == ("[key]",):
        wanted = "is no string" if kind == "invalid_key" else _key_rule(error)
        return Fault(path, f"the key '{name}' {wanted}", at_key=True)
    if kind in ("literal_error", "enum") and isinstance(detail.given, str):
        choices = tuple(re.findall(r"'([^']*)'", context["expected"]))
        return Fault(path, f"'{detail.given}' is no choice{did_you_mean(detail.given, choices)}", choices=choices)
    if kind == "union_tag_not_found":
        tag = context["discriminator"].strip("'")
        return Fault((*path, tag), f"'{tag}' is missing: it says which form this is", at_key=True)
    if kind == "union_tag_invalid":
        tag, choices = context["discriminator"].strip("'"), tuple(re.findall(r"'([^']*)'", context["expected_tags"]))
        return Fault(
            (*path, tag), f"'{context['tag']}' is no choice{did_you_mean(context['tag'], choices)}", choices=choices
        )
    if kind == "string_pattern_mismatch":
        return Fault(path, f"{_shorten(repr(detail.given))} does not fit: {_pattern_rule(context['pattern'])}")
    if kind in ("value_error", "assertion_error"):
        return Fault(path, str(context.get("error") or "the value does not fit"))
    return Fault(path, f"expected {_phrase(error)}, got {show(detail.given)}")


def _key_rule(error: ErrorDetails) -> str:
    if error["type"] == "string_pattern_mismatch":
        return f"does not fit: {_pattern_rule(error['ctx']['pattern'])}"
    return f"does not fit: expected {_phrase(error)}"


def _pattern_rule(pattern: str) -> str:
    return "a name is letters, digits, _ and -" if pattern == r"^[A-Za-z0-9_-]+$" else f"expected {pattern}"


def _phrase(error: ErrorDetails) -> str:
    """Return what was expected, to follow "expected"."""
    context: Mapping[str, Any] = error.get("ctx", {})
    if error["type"] in _EXPECTED:
        return _EXPECTED[error["type"]]
    if error["type"] in _LIMITS:
        limits = {key: f"{value:g}" if isinstance(value, float) else value for key, value in context.items()}
        return re.sub(r"\b(1 (?:item|character))s$", r"\1", _LIMITS[error["type"]].format_map(limits))
    if error["type"] in ("literal_error", "enum"):
        return str(context["expected"])
    return error["msg"].removeprefix("Input should be ")


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> dict[str, str | None]:
    """Return the fields that the model at a location has, with their descriptions."""
    annotations: list[Any] = [model]
    for part in location:
        annotations = [inner for annotation in annotations for inner in _inside(annotation, part)]
    models = [each for annotation in annotations for each in _members(annotation) if _is_model(each)]
    return {field.alias or name: field.description for each in models for name, field in each.model_fields.items()}


def _inside(annotation: Any, part: int | str) -> Iterator[Any]:
    """Yield the annotations of what lies one part of a location further in."""
    members = list(_members(annotation))
    if len(members) > 1 and (named := [member for member in members if _is_called(member, part)]):
        yield from named
        return
    for member in members:
        if _is_model(member):
            fields = member.model_fields.items()
            yield from (field.annotation for name, field in fields if part in (name, field.alias))
        elif get_origin(member) is dict:
            yield get_args(member)[1]
        else:
            yield from get_args(member)


def _members(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union, or the annotation itself, without what is only annotated."""
    if get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _is_called(member: Any, part: int | str) -> bool:
    """Say whether a part of a location names this member of a union: by its class, or by its tag's value."""
    tags = [get_args(field.annotation) for field in member.model_fields.values()] if _is_model(member) else []
    return getattr(member, "__name__", None) == part or any(part in values for values in tags)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
