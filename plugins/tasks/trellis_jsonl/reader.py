"""Reads JSONL files line by line and collects everything wrong with them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trellis.errors import TrellisError, did_you_mean
from trellis.types import Split
from trellis_jsonl.config import JsonlConfig

_SHOWN = 20
_HERE = "one JSON object per line, like {}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a file.

    Attributes:
        file: The file, as the config names it.
        line: From 1; None where the whole file is meant.
        message: What is wrong and how to mend it.
    """

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


class DataError(TrellisError):
    """Data files cannot be used as they are.

    Attributes:
        faults: Everything found wrong, in the order of the files; the message shows the first 20.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        shown = [str(fault) for fault in self.faults[:_SHOWN]]
        more = len(self.faults) - len(shown)
        super().__init__("\n".join([*shown, f"… and {more} more"] if more else shown))


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a file.

    Attributes:
        file: The file it stands in.
        line: From 1.
        id: The problem's id.
        question: The question.
        answer: The answer's text.
        solutions: The solutions' texts.
    """

    file: str
    line: int
    id: str
    question: str
    answer: str
    solutions: tuple[str, ...]


def read(config: JsonlConfig) -> dict[Split, list[Record]]:
    """Read the files of a config.

    Raises:
        DataError: A file cannot be read, or lines of it cannot be used; all of them are told.
    """
    files: dict[Split, str | None] = {"train": config.train, "validation": config.validation, "test": config.test}
    reader = _Reader(config)
    records = {split: reader.read(split, file) if file is not None else [] for split, file in files.items()}
    if reader.faults:
        raise DataError(reader.faults)
    return records


class _Reader:
    def __init__(self, config: JsonlConfig) -> None:
        self.config = config
        self.faults: list[Fault] = []
        self.ids: dict[str, Record] = {}
        self.questions: dict[str, tuple[Split, Record]] = {}
        self.example = json.dumps({config.question: "…", config.answer: "…"}, ensure_ascii=False)

    def read(self, split: Split, file: str) -> list[Record]:
        try:
            lines = Path(file).expanduser().read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            mend = f"'{split}' names it, seen from {Path.cwd()}"
            self.faults.append(Fault(file, None, f"cannot be read ({reason}): {mend}"))
            return []
        records = []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = self._record(split, file, number, self._object(line))
                self._unique(split, record)
            except _Wrong as wrong:
                self.faults.append(Fault(file, number, str(wrong)))
                if wrong.ends_file:
                    break
            else:
                records.append(record)
        if not records and not any(fault.file == file for fault in self.faults):
            self.faults.append(Fault(file, None, f"it holds no problems; write {_HERE.format(self.example)}"))
        return records

    def _object(self, line: bytes) -> Mapping[str, Any]:
        try:
            value = json.loads(line.decode("utf-8"), parse_constant=_refuse)
        except UnicodeDecodeError as error:
            raise _Wrong(f"it is not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from None
        except (ValueError, RecursionError) as error:
            if line.strip() == b"[":
                mend = f"the file is one JSON array; write {_HERE.format(self.example)} instead"
                raise _Wrong(mend, ends_file=True) from None
            raise _Wrong(f"it is not JSON ({error}); write {_HERE.format(self.example)}") from None
        if not isinstance(value, dict):
            raise _Wrong(f"it is {_kind(value)}, not an object; write {_HERE.format(self.example)}")
        return value

    def _record(self, split: Split, file: str, line: int, fields: Mapping[str, Any]) -> Record:
        c = self.config
        question = _text(_field(fields, c.question, "question"), c.question)
        answer = _text(_field(fields, c.answer, "answer"), c.answer, numbers=True)
        solutions: tuple[str, ...] = ()
        if c.solution is not None:
            given = _field(fields, c.solution, "solution")
            given = [] if given is None else [given] if isinstance(given, str) else given
            if not isinstance(given, list):
                raise _Wrong(f"'{c.solution}' is {_kind(given)}; it takes a text, a list of texts, or null")
            names = [c.solution] if len(given) == 1 else [f"{c.solution}[{place}]" for place in range(len(given))]
            solutions = tuple(_text(text, name) for text, name in zip(given, names, strict=True))
        id_ = f"{split}-{line}"
        if c.id is not None:
            id_ = _text(_field(fields, c.id, "id"), c.id, numbers=True)
        return Record(file, line, id_, question, answer, solutions)

    def _unique(self, split: Split, record: Record) -> None:
        if (other := self.ids.setdefault(record.id, record)) is not record:
            raise _Wrong(f"the id '{record.id}' is also that of {other.file}:{other.line}; give each problem its own")
        # White space does not make another question.
        first, other = self.questions.setdefault(" ".join(record.question.split()), (split, record))
        if first != split:
            raise _Wrong(
                f"the question is also in the split '{first}' ({other.file}:{other.line}); what is trained on must not be "
                "tested on: remove it from one of them"
            )


class _Wrong(Exception):  # noqa: N818 - what is wrong with a line; it never leaves this file
    def __init__(self, message: str, *, ends_file: bool = False) -> None:
        super().__init__(message)
        self.ends_file = ends_file


def _field(fields: Mapping[str, Any], name: str, meant: str) -> Any:
    if name not in fields:
        hint = did_you_mean(name, fields) if fields else ": the object is empty"
        raise _Wrong(f"the field '{name}' is missing{hint}; name your field with `{meant}` in the config")
    return fields[name]


def _text(value: Any, name: str, *, numbers: bool = False) -> str:
    if numbers and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _Wrong(f"'{name}' is {_kind(value)}; it takes a text" + (" or a number" if numbers else ""))
    if not value.strip():
        raise _Wrong(f"'{name}' is empty; fill it in, or remove the line")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _Wrong(f"'{name}' holds half of a surrogate pair (\\ud800 to \\udfff), which no text file can hold")
    return value


def _kind(value: Any) -> str:
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), "null")


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")
