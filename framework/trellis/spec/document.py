"""A pipeline file as data, with the line and column of every key and value in it.

YAML 1.2: `1e-5` is a float, `off` is a string and so is a date. Beyond YAML: keys are strings, none is given twice, and
there are no tags. Faults that leave the rest readable are collected; the others end the reading.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from trellis.errors import SpecError, SpecProblem

NodePath: TypeAlias = tuple[str | int, ...]
"""The way to a node: mapping keys and list indexes, `("stages", 1, "name")`."""

MAX_DEPTH = 50
MAX_NODES = 100_000

_TAG = "tag:yaml.org,2002:"
_TYPED = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float")}
_TEXT = {f"{_TAG}{name}" for name in ("str", "timestamp", "merge", "value")}
_COLLECTIONS = {f"{_TAG}map", f"{_TAG}seq"}


class Position(NamedTuple):
    """Line and column, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data and where each part of it stands.

    Attributes:
        data: Dicts, lists and scalars.
        file: The file as it was named, or None for data made in Python, whose positions say the order alone.
        keys: The position of every mapping key.
        values: The position of every value.
        overridden: Which option gave a value that is not from the file, e.g. `--set seed`.
        problems: What was found wrong while reading.
        unread: Values that such a problem made None; nothing else is to be said of them.
    """

    data: Any
    file: Path | None
    keys: Mapping[NodePath, Position]
    values: Mapping[NodePath, Position]
    overridden: Mapping[NodePath, str] = field(default_factory=dict)
    problems: tuple[SpecProblem, ...] = ()
    unread: frozenset[NodePath] = frozenset()

    def position(self, path: NodePath, *, at_key: bool = False) -> Position:
        """Return where a node stands, or the nearest node around it that the file holds."""
        for length in range(len(path), -1, -1):
            found = (self.keys if at_key else self.values).get(path[:length])
            if found := found or self.values.get(path[:length]):
                return found
        return Position(1, 1)

    def option(self, path: NodePath) -> str | None:
        """Return the option that made a node, written for the node itself, or None if it is the file's own."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.overridden:
                return self.overridden[path[:length]] + _below(path[length:])
        if path in self.values:
            return None
        return next((option for deeper, option in self.overridden.items() if deeper[: len(path)] == path), None)


def dotted(path: NodePath) -> str:
    """Write a path as people do: `components.policy.with`, `stages[1].name`."""
    return _below(path).removeprefix(".")


def _below(path: NodePath) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def read_file(file: Path) -> Document:
    """Read a pipeline file.

    Raises:
        SpecError: It cannot be read, or not as YAML.
    """
    try:
        document = read_text(file.read_bytes().decode("utf-8-sig"), file=file)
    except OSError as error:
        raise SpecError([SpecProblem(f"cannot be read: {error.strerror}", file=file)]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SpecError([SpecProblem("not UTF-8: save the file in that encoding", file=file, line=line)]) from None
    if not document.values:
        mend = "`trellis init NAME` writes a pipeline to start from"
        raise SpecError([SpecProblem(f"the file is empty: {mend}", file=file)])
    return document


def read_text(text: str, *, file: Path | None = None) -> Document:
    """Read YAML; text that holds nothing gives None.

    Raises:
        SpecError: It is not YAML, or nested too deeply.
    """
    reader = _Reader(file)
    try:
        with warnings.catch_warnings():
            # YAML 1.2 allows an anchor to be given again
            warnings.simplefilter("ignore", ReusedAnchorWarning)
            root = reader.yaml.compose(text)
    except RecursionError:
        raise SpecError([SpecProblem(f"nested more than {MAX_DEPTH} deep", file=file)]) from None
    except YAMLError as error:
        raise SpecError([_syntax_problem(error, text, file)]) from None
    data = None if root is None else reader.read(root, ())
    return Document(
        data, file, reader.keys, reader.values, problems=tuple(reader.problems), unread=frozenset(reader.unread)
    )


def from_data(data: Any) -> Document:
    """Take data made in Python; positions number its nodes in order."""
    keys: dict[NodePath, Position] = {}
    values: dict[NodePath, Position] = {}

    def copy(value: Any, path: NodePath) -> Any:
        values[path] = Position(len(values) + 1, 1)
        if isinstance(value, Mapping):
            copied = {}
            for key, item in value.items():
                keys[(*path, key)] = Position(len(values) + 1, 0)
                copied[key] = copy(item, (*path, key))
            return copied
        if isinstance(value, list | tuple):
            return [copy(item, (*path, index)) for index, item in enumerate(value)]
        return value

    return Document(copy(data, ()), None, keys, values)


class _Reader:
    """Turns composed nodes into data, noting positions and faults on the way."""

    def __init__(self, file: Path | None) -> None:
        self.yaml = YAML(typ="safe", pure=True)
        self.file = file
        self.keys: dict[NodePath, Position] = {}
        self.values: dict[NodePath, Position] = {}
        self.problems: list[SpecProblem] = []
        self.unread: set[NodePath] = set()

    def read(self, node: Node, path: NodePath) -> Any:
        self.values[path] = self._position(node)
        if len(path) > MAX_DEPTH:
            # an alias to a node around it ends here too
            raise SpecError([self._problem(node, path[:3], f"nested more than {MAX_DEPTH} deep")])
        if len(self.values) > MAX_NODES:
            raise SpecError([self._problem(node, path, f"more than {MAX_NODES:,} values, aliases included")])
        tag = str(node.tag)
        if tag not in _TYPED | _TEXT | _COLLECTIONS:
            return self._give_up(node, path, f"tags such as {tag.replace(_TAG, '!!')} are not read")
        if isinstance(node, MappingNode):
            return self._read_mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._read_scalar(node, path, tag)

    def _read_mapping(self, node: MappingNode, path: NodePath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode) or key_node.tag not in _TEXT:
                shown = f" '{key_node.value}'" if isinstance(key_node, ScalarNode) and key_node.value else ""
                self.problems.append(self._problem(key_node, path, f"the key{shown} is no string: put it in quotes"))
                continue
            key = str(key_node.value)
            if key in data:
                first = self.keys[(*path, key)]
                message = f"the key '{key}' is given twice, first at line {first.line}, column {first.column}"
                self.problems.append(self._problem(key_node, (*path, key), message))
                continue
            self.keys[(*path, key)] = self._position(key_node)
            data[key] = self.read(value_node, (*path, key))
            if isinstance(value_node, ScalarNode) and not value_node.value and value_node.style is None:
                # a value that was left out stands nowhere: its key is the place to look
                self.values[(*path, key)] = self.keys[(*path, key)]
        return data

    def _read_scalar(self, node: Node, path: NodePath, tag: str) -> Any:
        if tag in _TEXT:
            if any("\ud800" <= character <= "\udfff" for character in node.value):
                return self._give_up(node, path, "half of a surrogate pair is no character")
            return node.value
        try:
            return self.yaml.constructor.construct_object(node)
        except (ValueError, LookupError, YAMLError):
            shown = node.value if len(node.value) < 40 else f"{node.value[:40]}…"
            return self._give_up(node, path, f"'{shown}' is no {tag.removeprefix(_TAG)}")

    def _give_up(self, node: Node, path: NodePath, message: str) -> None:
        self.problems.append(self._problem(node, path, message))
        self.unread.add(path)

    def _problem(self, node: Node, path: NodePath, message: str) -> SpecProblem:
        return SpecProblem(message, dotted(path), self.file, *self._position(node))

    def _position(self, node: Node) -> Position:
        return Position(node.start_mark.line + 1, node.start_mark.column + 1)


def _syntax_problem(error: YAMLError, text: str, file: Path | None) -> SpecProblem:
    if isinstance(error, ReaderError):
        before, code = text[: error.position], error.character
        line, column = before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1
        shown = f"U+{code if isinstance(code, int) else ord(code):04X}"
        return SpecProblem(f"not YAML: the character {shown} is not allowed", "", file, line, column)
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return SpecProblem(f"not YAML: {error}", file=file)
    problem = str(error.problem)
    if "'\\t'" in problem:
        problem = "a tab; indent with spaces"
    elif "another document" in problem:
        problem = "a second document; a file holds one pipeline"
    elif error.context and error.context_mark:
        problem += f" ({error.context} that begins at line {error.context_mark.line + 1})"
    mark = error.problem_mark
    return SpecProblem(f"not YAML: {problem}", "", file, mark.line + 1, mark.column + 1)
