"""What can be set of a data set of reasoning-gym."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any, Self, TypeAlias

from pydantic import Field, model_validator

from trellis import Config

Size: TypeAlias = Annotated[int, Field(ge=0)]


class GymConfig(Config):
    """Which data set, how hard, how many problems, and how a final answer is written."""

    dataset: str = "chain_sum"
    """The data set's name in reasoning-gym, e.g. "countdown" or "mini_sudoku"."""

    parameters: Mapping[str, Any] = Field(default_factory=dict)
    """Fields of the data set's own configuration, e.g. `{min_numbers: 3}`; those left out keep its defaults."""

    train_size: Size | None = None
    """Problems of the split `train`; left out, 1000 or all that are found."""

    validation_size: Size | None = None
    """Problems of the split `validation`; left out, 100 or all that are found."""

    test_size: Size | None = None
    """Problems of the split `test`; left out, 200 or all that are found."""

    data_seed: int = 0
    """Fixes the problems. The pipeline's own seed never changes them, so runs stay comparable."""

    answer_prefix: str | None = Field(default=None, min_length=1)
    """What stands before the final answer, e.g. "answer: "; all that follows its last occurrence is read. Left out, the
    last <answer>…</answer> is read, and where there is none, the last line that is not empty."""

    separator: str = Field(default="\n", min_length=1)
    """Ends every step but the last."""

    partial_score: bool = False
    """Whether an answer that is not correct earns what the data set's scorer gives it, or 0."""

    seconds: float = Field(default=10.0, gt=0)
    """An answer whose scoring takes longer is not correct."""

    @model_validator(mode="after")
    def _known_to_the_library(self) -> Self:
        # Where the library is missing, whoever makes the task says which extra brings it.
        if find_spec("reasoning_gym") is not None:
            from trellis_gym.catalog import check

            check(self.dataset, self.parameters)
        return self
