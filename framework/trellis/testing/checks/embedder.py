"""Checks of embedders, on queries that are read without a database."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

from trellis.contracts.embedder import Embedder
from trellis.testing.check import Check, CheckSkipped, Subject, expect
from trellis.testing.material.situation import query

_ACCURACY = 1e-6
_QUERIES = ((1970, ("c", "p", "s")), (1980, ("x", "y", "z")), (7, ("a", "b", "d")))


def vectors_are_of_length_one(subject: Subject) -> None:
    """A store takes dot products for cosines, and cannot compare vectors of different sizes.

    Divide by the length, and return zeros alone where nothing is known; never NaN.
    """
    vectors = _vectors(subject.make())
    expect(len(vectors) == len(_QUERIES), f"{len(_QUERIES)} queries have {len(vectors)} vectors")
    sizes = {len(vector) for vector in vectors}
    expect(len(sizes) == 1, f"vectors have the sizes {sorted(sizes)}")
    for vector in vectors:
        length = math.sqrt(sum(value * value for value in vector))
        expect(length == 0 or abs(length - 1) < _ACCURACY, f"a vector has the length {length}")


def vectors_do_not_depend_on_the_batch(subject: Subject) -> None:
    """A query is stored in one batch and looked up in another, and must be found.

    Mask padding, and take nothing from the other queries of a batch.
    """
    embedder = subject.make()
    together = _vectors(embedder)
    alone = [embedder.embed([query(*one)])[0] for one in _QUERIES]
    far = max(_distance(one, other) for one, other in zip(together, alone, strict=True))
    expect(far < _ACCURACY * 100, f"a vector differs by {far:.1g} when its query is embedded alone")
    expect(list(embedder.embed([])) == [], "without queries it returns vectors")


def vectors_are_the_same_in_every_process(subject: Subject) -> None:
    """A store keeps vectors longer than any process lives.

    Hash with `hashlib`, never with `hash()`; seed every random number.
    """
    if any(not need.optional for need in subject.component.record.needs.values()):
        raise CheckSkipped("the kit cannot hand its collaborators to another process")
    config = subject.make_config()
    needs: dict[str, object] = {
        name: {} if need.many else None for name, need in subject.component.record.needs.items()
    }
    here = described(subject.make(needs))
    program = (
        "import json, sys\n"
        "sys.path[:], needs = json.loads(sys.argv[1])\n"
        "from trellis.component import load\n"
        "from trellis.testing.checks.embedder import described\n"
        "config = load(sys.argv[3]).model_validate_json(sys.argv[4])\n"
        "print(json.dumps(described(load(sys.argv[2])(config, **needs))))"
    )
    arguments = [
        json.dumps([sys.path, needs]),
        subject.component.record.factory,
        f"{type(config).__module__}:{type(config).__qualname__}",
        config.model_dump_json(),
    ]
    environment = {**os.environ, "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    expect(done.returncode == 0, f"in another process:\n{done.stderr.strip()}")
    version, vectors = json.loads(done.stdout.splitlines()[-1])
    far = max(_distance(one, other) for one, other in zip(here[1], vectors, strict=True))
    expect(far < _ACCURACY * 100, f"in another process a vector differs by {far:.1g}")
    expect(version == here[0], f"the version is {here[0]!r} here and {version!r} in another process")


def version_says_something(subject: Subject) -> None:
    """A store is rebuilt when the version changes: an empty one would hide that vectors mean something else now.

    Put into it whatever decides on the vectors: the scheme, the configuration, the model's files.
    """
    version = subject.make().version
    expect(isinstance(version, str) and version.strip(), f"the version is {version!r}")
    again = subject.make().version
    expect(version == again, f"nothing has changed, and the version has: {version!r}, {again!r}")


def described(embedder: Embedder) -> tuple[str, list[list[float]]]:
    """Return an embedder's version and the vectors of the kit's queries."""
    return embedder.version, [[float(value) for value in vector] for vector in _vectors(embedder)]


def _vectors(embedder: Embedder) -> list[tuple[float, ...]]:
    return embedder.embed([query(*one) for one in _QUERIES])


def _distance(one: tuple[float, ...] | list[float], other: tuple[float, ...] | list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


CHECKS = (
    Check.of("embedder", vectors_are_of_length_one),
    Check.of("embedder", vectors_do_not_depend_on_the_batch),
    Check.of("embedder", vectors_are_the_same_in_every_process),
    Check.of("embedder", version_says_something),
)
