"""Collecting problems: each with its place in the file, all of them in the order of the file, no secret in any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from trellis.errors import SpecError, SpecProblem
from trellis.spec.document import Document, NodePath, dotted
from trellis.spec.secrets import mask


class Problems:
    """What was found wrong with a document so far."""

    def __init__(self, document: Document, *, secrets: Mapping[str, str] | None = None) -> None:
        """Begin with what was found while reading.

        Args:
            document: Gives the places.
            secrets: Values, by variable, that no message may hold.
        """
        self._document = document
        self._secrets = secrets or {}
        self._found = [((problem.line or 0, problem.column or 0), problem) for problem in document.problems]
        self._muted: set[NodePath] = set(document.unread)

    def add(self, path: NodePath, message: str, *, at_key: bool = False, choices: Sequence[str] = ()) -> None:
        """Add a problem.

        Args:
            path: The node it is about.
            message: What is wrong and how to mend it.
            at_key: Whether to point at the node's key rather than at its value.
            choices: The valid names, where the fault is a name.
        """
        if path in self._muted:
            return
        place = self._document.position(path, at_key=at_key)
        problem = SpecProblem(mask(message, self._secrets), dotted(path), choices=tuple(choices))
        if option := self._document.option(path):
            problem = replace(problem, path=option)
        elif self._document.file is not None:
            problem = replace(problem, file=self._document.file, line=place.line, column=place.column)
        self._found.append(((place.line, place.column), problem))

    def mute(self, path: NodePath) -> None:
        """Ignore what else is wrong with a node whose real value is not known."""
        self._muted.add(path)

    def __len__(self) -> int:
        return len(self._found)

    def error(self) -> SpecError:
        """Return all of them as one error."""
        return SpecError(problem for _, problem in sorted(self._found, key=lambda placed: placed[0]))
