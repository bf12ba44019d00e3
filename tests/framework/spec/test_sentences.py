"""pydantic's errors in a person's words, for the forms of config that the broken files do not show."""

from enum import Enum
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from trellis import Config
from trellis.spec.document import dotted
from trellis.spec.sentences import faults, show


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Constant(Config):
    kind: Literal["constant"] = "constant"
    value: float


class Ramp(Config):
    kind: Literal["ramp"] = "ramp"
    begin: float
    end: float = 0.0


class Everything(Config):
    schedule: Constant | Ramp | float = 1.0
    tagged: Annotated[Constant | Ramp, Field(discriminator="kind")] = Constant(value=1.0)
    maybe: Ramp | None = None
    by_name: dict[str, tuple[Ramp, ...]] = {}
    pair: tuple[int, str] = (1, "a")
    size: Literal[1, 2] = 1
    colour: Annotated[Colour, Field(strict=False)] = Colour.RED
    finite: float = Field(default=1.0, allow_inf_nan=False)
    code: Annotated[str, Field(pattern="^[a-z]+$", max_length=4)] = "a"
    even: Annotated[int, Field(multiple_of=2)] = 2

    @model_validator(mode="after")
    def _both(self):
        if self.even == 4 and self.size == 2:
            raise ValueError("even: 4 and size: 2 exclude each other")
        return self


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"schedule": "fast"}, "schedule: expected a mapping or a number, got the string 'fast'"),
        (
            {"schedule": {"begin": 1.0, "ned": 2.0}},
            "schedule.ned: unknown field 'ned'; did you mean 'end'? Valid: begin, end, kind",
        ),
        ({"schedule": {"begin": True}}, "schedule.begin: expected a number, got true"),
        ({"tagged": {"kind": "ramp", "begin": 1.0, "x": 1}}, "tagged.x: unknown field 'x'. Valid: begin, end, kind"),
        ({"tagged": {"kind": "step"}}, "tagged.kind: 'step' is no choice. Valid: constant, ramp"),
        ({"tagged": {"value": 1.0}}, "tagged.kind: 'kind' is missing: it says which form this is"),
        ({"maybe": {"begn": 1.0}}, "maybe.begn: unknown field 'begn'; did you mean 'begin'? Valid: begin, end, kind"),
        (
            {"by_name": {"end": [{"begin": 1.0, "y": 2}]}},
            "by_name.end[0].y: unknown field 'y'. Valid: begin, end, kind",
        ),
        ({"pair": [1]}, "pair[1]: '1' is missing"),
        ({"pair": [1, "a", 2]}, 'pair: expected at most 2 items, got the list [1, "a", 2]'),
        ({"size": 3}, "size: expected 1 or 2, got 3"),
        ({"colour": "rad"}, "colour: 'rad' is no choice; did you mean 'red'? Valid: green, red"),
        ({"finite": float("inf")}, "finite: expected a finite number, got Infinity"),
        ({"code": "A"}, "code: 'A' does not fit: expected ^[a-z]+$"),
        ({"code": "abcde"}, "code: expected at most 4 characters, got the string 'abcde'"),
        ({"even": 3}, "even: expected a multiple of 2, got 3"),
        ({"even": 4, "size": 2}, "even: 4 and size: 2 exclude each other"),
        ({3: 4}, "[3]: the key '3' is no string"),
    ],
)
def test_an_error_reads_as_a_person_would_say_it(values, expected):
    with pytest.raises(ValidationError) as raised:
        Everything.model_validate(values)
    found = faults(raised.value, Everything, values)
    assert [f"{dotted(fault.path)}: {fault.message}".removeprefix(": ") for fault in found] == [expected]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "nothing (null)"),
        (True, "true"),
        ("3", "the string '3'"),
        ({"a": [1]}, 'the mapping {"a": [1]}'),
        (object, "<class 'object'>"),
        ("x" * 99, f"the string '{'x' * 56}…"),
    ],
)
def test_a_value_is_shown_as_in_yaml_and_short(value, shown):
    assert show(value) == shown
