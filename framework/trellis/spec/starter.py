"""The pipeline that `trellis init` writes: small, complete, and commented where one begins to change it."""

from __future__ import annotations

import re
from pathlib import Path

from trellis.errors import SpecError, SpecProblem
from trellis.spec.models import NAME_PATTERN

STARTER = """\
# A pipeline to start from: teach a tiny model to solve Countdown puzzles, then measure ways to search with it.
#
#   trellis check NAME.yaml      is everything right? (quick: nothing is built)
#   trellis run NAME.yaml        do it
#   trellis fill NAME.yaml       the same file with every default written out: all there is to set
#   trellis plugins list         every component that `use` and `run` can name
version: 1
name: NAME
seed: 0 # all randomness derives from it

# The parts. `use` says what a part is, `with` sets it, `needs` names the parts it works with.
components:
  task:
    use: countdown
    with: {numbers: 3} # to 6; more is harder
  policy:
    use: transformers
    with: # a small model made here; `model: DIRECTORY` takes one you have
      init: tiny
      tokenizer: {words: [" + ", " - ", " = ", " | left: ", " -> "], numbers: 64} # one token each; other text by character
  sft:
    use: sft # learns from correct traces
    with: {steps: 300}
  verifier:
    use: verifier # knows what is correct: with it, best-of-n shows the most a reward could bring
    needs: {task: task}
  greedy:
    use: greedy
  best-of-n:
    use: best-of-n # samples n times and keeps what the reward likes best

# What is done with them, in this order.
stages:
  - name: train
    run: train
    needs: {optimizer: sft, policy: policy, task: task}
  - name: test
    run: evaluate
    needs: {policy: policy, task: task, reward: verifier, searches: [greedy, best-of-n]}
"""


def write_starter(name: str, *, directory: Path) -> Path:
    """Write NAME.yaml and return its path.

    Raises:
        SpecError: The name is none, or the file is there already.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise SpecError([SpecProblem(f"'{name}' is no name for a pipeline: use letters, digits, _ and -")])
    file = directory / f"{name}.yaml"
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(STARTER.replace("NAME", name))
    except FileExistsError:
        raise SpecError([SpecProblem("is there already: choose another name, or remove it", file=file)]) from None
    return file
