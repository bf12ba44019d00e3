import pytest

from trellis import load_pipeline
from trellis.errors import SpecError

PIPELINE = """\
version: 1
name: p
components:
  task: {use: countdown}
  policy: {use: transformers}
  sft: {use: sft}
  greedy: {use: greedy}
stages:
  - {name: warm-up, run: train, needs: {optimizer: sft, policy: policy, task: task}}
  - name: test
    run: evaluate
    with: {weights: [WEIGHTS]}
    needs: {policy: policy, task: task, searches: greedy}
"""


def load(tmp_path, weights):
    file = tmp_path / "p.yaml"
    file.write_text(PIPELINE.replace("WEIGHTS", weights))
    return load_pipeline(file)


def test_an_earlier_stage_may_be_named(tmp_path):
    assert load(tmp_path, "warm-up").stages[1].config.weights == ("warm-up",)


@pytest.mark.parametrize("name", ["warmup", "test", "later"])
def test_another_name_is_found_before_anything_runs(tmp_path, name):
    with pytest.raises(SpecError) as raised:
        load(tmp_path, f"warm-up, {name}")
    (problem,) = raised.value.problems
    assert (problem.line, problem.path, problem.choices) == (12, "stages[1].with.weights[1]", ("warm-up",))
    assert f"no stage before 'test' is named '{name}'" in problem.message
