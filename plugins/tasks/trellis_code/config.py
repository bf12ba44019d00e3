"""What can be set of each task of program synthesis."""

from typing import Annotated, ClassVar, Literal, TypeAlias, get_args

from pydantic import Field, model_validator

from trellis.procedural import ProceduralConfig

MAX_LINES = 5
"""Lines a program may have at most: the oracle searches through all programs."""
MAX_EXAMPLES = 4
"""Examples a problem may show at most."""

Length: TypeAlias = Annotated[int, Field(ge=1, le=8)]
ListInstruction: TypeAlias = Literal[
    "sort", "reverse", "unique", "drop first", "drop last", "keep even", "keep odd", "add 1", "double"
]
StringInstruction: TypeAlias = Literal[
    "sort", "reverse", "rotate", "drop first", "drop last", "a to e", "next", "capital", "double"
]


class ProgramConfig(ProceduralConfig):
    """How long the programs are, and how much is shown of what they do."""

    lines: Annotated[int, Field(ge=1, le=MAX_LINES)] = 2
    """The lines a program may have. No problem is drawn that fewer lines solve."""

    examples: Annotated[int, Field(ge=1, le=MAX_EXAMPLES)] = 2
    """The examples a problem shows."""

    held_out: Annotated[int, Field(ge=0, le=MAX_EXAMPLES)] = 1
    """The examples that a problem does not show, but a correct program must get right too."""

    values: bool = False
    """Whether traces write after each instruction what has become of the first example. The verifier takes both.

    It makes states readable, but a policy must then learn to copy and to compute before it can solve anything.
    """

    min_length: Length = 4
    """The shortest inputs."""

    max_length: Length = 4
    """The longest inputs."""

    @model_validator(mode="after")
    def _lengths_in_order(self) -> "ProgramConfig":
        if self.min_length > self.max_length:
            raise ValueError(f"min_length is {self.min_length}: it must be at most max_length, {self.max_length}")
        return self


class ListProgramConfig(ProgramConfig):
    """Programs on lists of whole numbers."""

    PRESETS: ClassVar = {"easy": {"lines": 1}, "medium": {}, "hard": {"lines": 3}}

    instructions: Annotated[tuple[ListInstruction, ...], Field(min_length=1)] = get_args(ListInstruction)
    """The instructions of the language; canonical traces prefer the first."""

    max_number: Annotated[int, Field(ge=1, le=99)] = 9
    """The numbers of inputs are drawn from 0 to this."""


class StringProgramConfig(ProgramConfig):
    """Programs on words of the letters a to e."""

    PRESETS: ClassVar = {"easy": {"lines": 1}, "medium": {}, "hard": {"lines": 3}}

    instructions: Annotated[tuple[StringInstruction, ...], Field(min_length=1)] = get_args(StringInstruction)
    """The instructions of the language; canonical traces prefer the first."""
