"""What parts need of each other: every edge is there and of the right kind, no circle, nothing left over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from trellis.component import Need
from trellis.errors import MissingExtraError, did_you_mean
from trellis.plugins import RegisteredComponent
from trellis.spec.document import NodePath
from trellis.spec.models import Part
from trellis.spec.problems import Problems


def check_edges(
    components: Sequence[Part],
    stages: Sequence[Part],
    found: Mapping[NodePath, RegisteredComponent],
    problems: Problems,
) -> None:
    """Add everything that is wrong with the needs of a pipeline's parts.

    Args:
        components: The components.
        stages: The stages.
        found: What each part is, by its path; a part whose name was not found is not in it.
        problems: Collects.
    """
    edges = _Edges(components, found, problems)
    for part in (*components, *stages):
        edges.check(part)
    edges.check_circles()
    if stages and all(part.complete for part in (*components, *stages)):
        edges.check_unused(stages)


class _Edges:
    """The checks, over one pipeline."""

    def __init__(
        self, components: Sequence[Part], found: Mapping[NodePath, RegisteredComponent], problems: Problems
    ) -> None:
        self.components = {part.name: part for part in components}
        self.found = found
        self.problems = problems
        self.hoped: set[str] = set()
        """Components that would mend a wrong edge; they are not called unused."""

    def check(self, part: Part) -> None:
        """Check what a part names under its needs, and what it leaves out."""
        registered = self.found.get(part.path)
        needs = registered.record.needs if registered else {}
        for name, value in part.needs.items():
            path = (*part.path, "needs", name)
            if need := needs.get(name):
                self._check_value(path, value, need)
                continue
            for place, target in _names(path, value):
                self._check_name(place, target, list(self.components))
            if registered:
                listed = did_you_mean(name, needs) or ": it needs nothing"
                message = f"{registered.id} has no need named '{name}'{listed}"
                self.problems.add(path, message, at_key=True, choices=tuple(needs))
        if registered and part.complete:
            self._check_all_there(part, registered)
            self._check_entailed(part, registered)

    def _check_value(self, path: NodePath, value: str | tuple[str, ...], need: Need) -> None:
        fitting = self._fitting(need)
        if not isinstance(value, str) and not need.many:
            self.problems.add(path, f"takes one {need.kind}, not a list", choices=fitting)
        names = list(_names(path, value))
        for index, (place, name) in enumerate(names):
            if not self._check_name(place, name, fitting):
                continue
            target = self.found.get(self.components[name].path)
            if name in (other for _, other in names[:index]):
                self.problems.add(place, f"'{name}' is named twice")
            elif target and target.kind != need.kind:
                message = f"{_a(need.kind)} is needed here, and '{name}' ({target.id}) is {_a(target.kind)}"
                self._offer(place, message, need)
            elif target and (missing := need.capabilities - target.record.capabilities):
                wanted = ", ".join(f"'{capability}'" for capability in sorted(missing))
                self._offer(place, f"'{name}' ({target.id}) lacks the capability {wanted}", need)
            elif target:
                try:
                    target.check_capabilities(need.capabilities)
                except MissingExtraError as error:
                    self.problems.add(place, str(error))

    def _check_name(self, place: NodePath, name: str, fitting: Sequence[str]) -> bool:
        """Check that a component is there; those that fit are named where it is not."""
        if name in self.components:
            return True
        self.hoped.update(fitting)
        choices = fitting or list(self.components)
        listed = did_you_mean(name, choices) or ": it has none"
        self.problems.add(place, f"no component of this pipeline is named '{name}'{listed}", choices=choices)
        return False

    def _check_all_there(self, part: Part, registered: RegisteredComponent) -> None:
        """Add each required need that was left out, unless a misspelt one stands for it."""
        needs = registered.record.needs
        unknown = [name for name in part.needs if name not in needs]
        for name, need in needs.items():
            if not need.optional and not part.needs.get(name) and not get_close_matches(name, unknown):
                kind = f"one or more of kind {need.kind}" if need.many else _a(need.kind)
                message = f"{registered.id} needs {kind}: write '{name}: NAME' under its needs"
                self._offer((*part.path, "needs"), message, need, at_key=True)

    def _check_entailed(self, part: Part, registered: RegisteredComponent) -> None:
        """Add each collaborator that wants something of the part which the part was not given."""
        needs = registered.record.needs
        unknown = [name for name in part.needs if name not in needs]
        for name, value in part.needs.items():
            entails = needs[name].entails if name in needs else {}
            for place, target in _names((*part.path, "needs", name), value):
                found = self.found.get(self.components[target].path) if target in self.components else None
                for capability, other in entails.items():
                    given = part.needs.get(other) or get_close_matches(other, unknown)
                    if found and capability in found.record.capabilities and not given:
                        kind = needs[other].kind
                        message = (
                            f"'{target}' ({found.id}) works with {_a(kind)}: write '{other}: NAME' under the needs"
                        )
                        self._offer(place, f"{message} of this {registered.record.name}", needs[other])

    def _offer(self, path: NodePath, message: str, need: Need, *, at_key: bool = False) -> None:
        """Add a problem that ends with what would mend it."""
        if fitting := self._fitting(need):
            self.hoped.update(fitting)
            message += f". In this pipeline these fit: {', '.join(fitting)}"
        elif all(part.path in self.found for part in self.components.values()):
            able = f" with {', '.join(sorted(need.capabilities))}" if need.capabilities else ""
            message += f". This pipeline has no {need.kind}{able}: add one under components"
        self.problems.add(path, message, at_key=at_key, choices=fitting)

    def _fitting(self, need: Need) -> list[str]:
        targets = {name: self.found.get(part.path) for name, part in self.components.items()}
        return [
            name
            for name, target in targets.items()
            if target and target.kind == need.kind and need.capabilities <= target.record.capabilities
        ]

    def check_circles(self) -> None:
        """Add each circle that a walk along the needs closes."""
        for circle in self._circles():
            path = (*self.components[circle[0]].path, "needs")
            message = f"these components need each other in a circle: {' → '.join(circle)}"
            self.problems.add(path, message, at_key=True)

    def _circles(self) -> Iterator[tuple[str, ...]]:
        done: set[str] = set()
        way: list[str] = []

        def walk(name: str) -> Iterator[tuple[str, ...]]:
            if name in way:
                yield (*way[way.index(name) :], name)
            elif name not in done:
                way.append(name)
                for target in self._targets(self.components[name]):
                    yield from walk(target)
                way.pop()
                done.add(name)

        for name in self.components:
            yield from walk(name)

    def check_unused(self, stages: Sequence[Part]) -> None:
        """Add each component that no stage needs, directly or through others."""
        reached: set[str] = set()
        waiting = [*self.hoped, *(target for stage in stages for target in self._targets(stage))]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += self._targets(self.components[name])
        for name, part in self.components.items():
            # one whose `use` is wrong may be what a wrong edge is meant for
            if name not in reached and part.path in self.found:
                message = "no stage reaches it: name it under the needs of a stage, or remove it"
                self.problems.add(part.path, message, at_key=True)

    def _targets(self, part: Part) -> Iterator[str]:
        """Yield the components that a part names and that are there."""
        for name, value in part.needs.items():
            yield from (target for _, target in _names((name,), value) if target in self.components)


def _names(path: NodePath, value: str | tuple[str, ...]) -> Iterator[tuple[NodePath, str]]:
    """Yield each name that stands under a need, with its place."""
    if isinstance(value, str):
        yield path, value
    else:
        yield from (((*path, index), name) for index, name in enumerate(value))


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
