"""A query's fingerprint: equal where two queries ask the same up to literals, layout, alias names and order.

Relations are named canonically by colour refinement (Weisfeiler and Leman 1968): a relation's colour says what it reads
and in which conditions, outputs and joins it stands with relations of which colours. What stays tied is told apart by
individualisation: every tied relation is tried first, and the naming with the least form wins (McKay 1981, "Practical
graph isomorphism"). A relation is not tried where exchanging it with one that was tried leaves the form as it is, so
interchangeable self-joins cost a comparison each instead of a factorial.

Deviations: pruning knows transpositions and equal first leaves, not the whole automorphism group; and after `MAX_READS`
forms the search ends with the least form so far, so that a query of many relations tied without being
interchangeable, which is rare among join graphs, may get another fingerprint under other aliases.
"""

from __future__ import annotations

from collections import defaultdict
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from trellis.sql.form import Form, Text, read_form, vertices
from trellis.sql.former import Former
from trellis.sql.scopes import Reading

MAX_READS = 300_000
"""Forms read before the search stops comparing: about a second."""


class Fingerprint(NamedTuple):
    """What a query is, whatever its names.

    Attributes:
        digest: 32 hexadecimal digits.
        literals: The literals in the order of the canonical form.
        places: For each relation's number, its place in the canonical order, from 0.
    """

    digest: str
    literals: tuple[str, ...]
    places: tuple[int, ...]


def fingerprint(reading: Reading) -> Fingerprint:
    """Return the fingerprint of a query."""
    former = Former(reading)
    form = former.query()
    reading.form = None if former.stars else form
    best = _Naming(form, former.elements, sum(len(scope.items) for scope in reading.scopes)).least()
    rank = {colour: place for place, colour in enumerate(sorted(best.colours))}
    digest = blake2b(best.form.text.encode(), digest_size=16).hexdigest()
    return Fingerprint(digest, best.form.literals, tuple(rank[colour] for colour in best.colours))


def own_form(reading: Reading) -> Text:
    """Return the form under the query's own aliases: equal for two texts that differ in layout and join order only."""
    depths: dict[int, int] = {}
    labels: dict[int, str] = {}
    for scope in reading.scopes:
        depths[scope.id] = 0 if scope.parent is None else depths.get(scope.parent, 0) + 1
        labels |= {item.vertex: f"{item.alias}#{depths[scope.id]}" for item in scope.items}
    form = reading.form or Former(reading, spell_stars=True).query()
    return read_form(form, [labels[vertex] for vertex in range(len(labels))])


_Signature: TypeAlias = "tuple[int, list[Text] | list[str]]"


class _Leaf(NamedTuple):
    """A form in which every relation has a colour of its own, and these colours."""

    form: Text
    colours: list[int]


class _Naming:
    """The search for the least form."""

    def __init__(self, form: Form, elements: list[Form], num_vertices: int) -> None:
        self.form = form
        self.num_vertices = num_vertices
        self.around: dict[int, list[Form]] = defaultdict(list)
        for element in elements:
            for vertex in set(vertices(element)):
                self.around[vertex].append(element)
        self.reads = 0
        self.num_around = sum(map(len, self.around.values()))
        self.same: dict[int, int] = {}
        self.by_literals: list[int] | None = None

    def least(self) -> _Leaf:
        return self.search(self.refined([0] * self.num_vertices))

    def refined(self, colours: list[int], *, literals: bool = False) -> list[int]:
        """Split colours until each says everything about its relations that colours can say."""
        num_colours = len(set(colours))
        while num_colours < self.num_vertices:
            self.reads += self.num_around
            labels = [f"t{colour}" for colour in colours]
            signatures: list[_Signature] = []
            for vertex in range(self.num_vertices):
                labels[vertex], own = "*", labels[vertex]
                seen = sorted(read_form(element, labels) for element in self.around[vertex])
                signatures.append((colours[vertex], seen if literals else [part.text for part in seen]))
                labels[vertex] = own
            colours = _ranks(signatures)
            if len(set(colours)) == num_colours:
                break
            num_colours = len(set(colours))
        return colours

    def search(self, colours: list[int]) -> _Leaf:
        """Return the least form over the namings that keep the order of colours."""
        tied = _first_tie(colours)
        if not tied:
            return self.leaf(colours)
        if self.by_literals is None:
            self.by_literals = self.refined(colours, literals=True)
        candidates: list[int] = []
        # Among interchangeable relations the literals decide, so that their order belongs to the fingerprint.
        for vertex in sorted(tied, key=lambda vertex: self.by_literals[vertex]):  # type: ignore[index]
            if not any(self.interchangeable(other, vertex, colours) for other in candidates):
                candidates.append(vertex)
        if len(candidates) == 1 or self.reads > MAX_READS:
            return self.search(self.refined(_individualised(colours, candidates[0])))
        firsts: dict[str, tuple[_Leaf, int]] = {}
        for vertex in candidates:
            if self.reads > MAX_READS:
                break
            first = self.first_leaf(_individualised(colours, vertex))
            known = firsts.get(first.form.text)
            if known is None or first.form.literals < known[0].form.literals:
                firsts[first.form.text] = (first, vertex)
        best = min(first for first, _ in firsts.values())
        for _, vertex in firsts.values():
            if self.reads <= MAX_READS:
                best = min(best, self.search(self.refined(_individualised(colours, vertex))))
        return best

    def first_leaf(self, colours: list[int]) -> _Leaf:
        colours = self.refined(colours)
        while tied := _first_tie(colours):
            first = min(tied, key=lambda vertex: (self.by_literals or colours)[vertex])
            colours = self.refined(_individualised(colours, first))
        return self.leaf(colours)

    def leaf(self, colours: list[int]) -> _Leaf:
        return _Leaf(read_form(self.form, [f"t{colour}" for colour in colours]), colours)

    def interchangeable(self, one: int, other: int, colours: list[int]) -> bool:
        """Whether exchanging two tied relations leaves the form as it is, under any naming of the rest."""
        one_root, other_root = self.root(one), self.root(other)
        if one_root == other_root:
            return True
        order = sorted(range(self.num_vertices), key=lambda vertex: (colours[vertex], vertex))
        labels = [""] * self.num_vertices
        for position, vertex in enumerate(order):
            labels[vertex] = f"t{position}"
        before = read_form(self.form, labels).text
        labels[one], labels[other] = labels[other], labels[one]
        if before != read_form(self.form, labels).text:
            return False
        self.same[other_root] = one_root
        return True

    def root(self, vertex: int) -> int:
        while vertex in self.same:
            vertex = self.same[vertex]
        return vertex


def _ranks(signatures: list[_Signature]) -> list[int]:
    """Number signatures by their order, equal ones alike."""
    order = sorted(range(len(signatures)), key=lambda vertex: signatures[vertex])
    ranks = [0] * len(signatures)
    for position, vertex in enumerate(order):
        before = order[position - 1]
        ranks[vertex] = ranks[before] if position and signatures[before] == signatures[vertex] else position
    return ranks


def _first_tie(colours: list[int]) -> list[int]:
    """Return the relations of the least colour that several have; none where all differ."""
    cells: dict[int, list[int]] = defaultdict(list)
    for vertex, colour in enumerate(colours):
        cells[colour].append(vertex)
    return next((cells[colour] for colour in sorted(cells) if len(cells[colour]) > 1), [])


def _individualised(colours: list[int], vertex: int) -> list[int]:
    """Give one relation a colour of its own, before those it was tied with."""
    return [2 * colour + (colour == colours[vertex] and other != vertex) for other, colour in enumerate(colours)]
