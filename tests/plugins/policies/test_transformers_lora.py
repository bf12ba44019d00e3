"""LoRA: what is trained, what is saved, what is shared, and how an adapter becomes one with its model."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from trellis import Outcome, Problem, SampleRequest, Step, Trajectory
from trellis.errors import CheckpointError, SpecError
from trellis.nn import own_tensors, trainable
from trellis.testing.material import Successor, SuccessorConfig
from trellis_airl.airl import AIRL
from trellis_airl.config import AIRLConfig
from trellis_grpo.config import GRPOConfig
from trellis_grpo.grpo import GRPO
from trellis_prm.config import ImplicitConfig
from trellis_prm.implicit import ImplicitPRM
from trellis_sft.config import RFTConfig, SFTConfig
from trellis_sft.rft import RFT
from trellis_sft.sft import SFT
from trellis_transformers.config import LoRA, TransformersConfig
from trellis_transformers.policy import TransformersPolicy

KINDS = ["qwen2", "llama"]
TASK = Successor(SuccessorConfig())


class ShortOnes(Successor):
    """Half of what an untrained model writes is right here."""

    def verify(self, trajectory):
        right = len(trajectory.text) % 2 == 0
        return Outcome(right, float(right))


EASY = ShortOnes(SuccessorConfig())


@pytest.fixture(params=KINDS)
def directory(request, model_directory) -> Path:
    return model_directory(request.param)


def made(directory, **options) -> TransformersPolicy:
    options = {"lora": LoRA(r=4, alpha=8), "seed": 5, **options}
    return TransformersPolicy(TransformersConfig(model=str(directory), device="cpu", **options))


def start(prompt: str = "1 + 1\n") -> Trajectory:
    return Trajectory(Problem("p", prompt), prompt)


TRACE = replace(start(), steps=(Step("1 + 1 = 2.\n"), Step("The answer is 2")), finished=True)


def values(policy: TransformersPolicy) -> list[float]:
    return [value for step in policy.log_probs([TRACE])[0].steps for value in step.log_probs]


def fine_tune(policy, steps=4, **options):
    config = SFTConfig(**{"steps": steps, "batch_size": 8, "learning_rate": 1e-2, "warmup": 0, **options})
    return list(SFT(config).train(policy=policy, task=TASK))


def test_an_adapter_begins_by_changing_nothing_and_is_all_that_is_trained(directory):
    plain, policy = made(directory, lora=None), made(directory)
    assert values(policy) == pytest.approx(values(plain), abs=1e-6)
    before = {name: value.clone() for name, value in policy.module.state_dict().items()}
    steps = fine_tune(policy)
    assert steps[-1].metrics["loss"] < steps[0].metrics["loss"]
    changed = {name for name, value in policy.module.state_dict().items() if not value.equal(before[name])}
    assert changed
    assert all("lora_" in name for name in changed)
    assert len(trainable(policy.module)) == 2 * 7 * 2, "two matrices at each of seven linear layers, in two layers"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_is_trained_is_float32_whatever_the_weights_are(dtype, model_directory):
    policy = made(model_directory("qwen2"), dtype=dtype)
    assert {parameter.dtype for parameter in trainable(policy.module)} == {torch.float32}
    frozen = [parameter for parameter in policy.module.parameters() if not parameter.requires_grad]
    assert {parameter.dtype for parameter in frozen} == {getattr(torch, dtype)}
    steps = fine_tune(policy, steps=6)
    assert steps[-1].metrics["loss"] < steps[0].metrics["loss"]


def test_merged_weights_are_those_of_a_model_that_needs_no_adapter(directory):
    policy, plain = made(directory), made(directory, lora=None)
    fine_tune(policy)
    merged = dict(policy.merged_weights())
    assert merged.keys() == dict(plain.module.named_parameters()).keys()
    assert values(plain) != pytest.approx(values(policy), abs=1e-2)
    plain.module.load_state_dict(merged, strict=False)
    assert values(plain) == pytest.approx(values(policy), abs=1e-4)
    assert all(not tensor.requires_grad for tensor in merged.values())


def test_a_plain_models_merged_weights_are_its_own(model_directory):
    policy = made(model_directory("qwen2"), lora=None)
    names = {name for name, _ in policy.merged_weights()}
    assert names == {name for name, _ in policy.module.named_parameters()}
    assert "lm_head.weight" not in names, "it is tied"


def test_a_checkpoint_is_the_adapter_alone_as_peft_reads_it(directory, tmp_path):
    policy = made(directory)
    fine_tune(policy)
    policy.save(tmp_path)
    weights = [path for path in tmp_path.iterdir() if path.suffix == ".safetensors"]
    assert [path.name for path in weights] == ["adapter_model.safetensors"]
    assert sum(t.numel() for t in load_file(weights[0]).values()) == sum(p.numel() for p in trainable(policy.module))
    read = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32), tmp_path)
    batch = policy.batch([TRACE])
    with torch.no_grad():
        theirs, ours = (
            m(input_ids=batch.ids_BT, attention_mask=batch.attention_BT).logits for m in (read, policy.module)
        )
    torch.testing.assert_close(theirs, ours)


def test_an_adapters_directory_is_a_model_with_it_merged_in(directory, tmp_path):
    policy = made(directory)
    fine_tune(policy)
    policy.save(tmp_path)
    merged = made(tmp_path, lora=None)
    assert values(merged) == pytest.approx(values(policy), abs=1e-4)
    assert len(trainable(merged.module)) == len(list(merged.module.parameters()))
    again = made(tmp_path)
    assert values(again) == pytest.approx(values(policy), abs=1e-4)
    assert all("lora_" in name for name, p in again.module.named_parameters() if p.requires_grad)


def test_it_goes_on_in_another_policy_with_the_same_samples(directory, tmp_path):
    one, two = made(directory), made(directory, seed=6)
    fine_tune(one)
    one.save(tmp_path)
    module = two.module
    two.load(tmp_path)
    assert two.module is module
    request = SampleRequest(start(), n=4, max_tokens=8)
    assert two.sample([request]) == one.sample([request])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"lora": LoRA(r=2, alpha=8)}, r"has the shape \[2, 32\] there and \[4, 32\] here. .*the `model` and `lora`"),
        ({"lora": LoRA(r=4, alpha=8, target_modules=("q_proj",))}, "has the shape None there"),
        ({"lora": None}, "holds no adapter"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_and_the_adapter_is_kept(other, words, model_directory, tmp_path):
    made(model_directory("qwen2"), **other).save(tmp_path)
    policy = made(model_directory("qwen2"))
    fine_tune(policy, steps=1)
    before = values(policy)
    with pytest.raises(CheckpointError, match=words) as error:
        policy.load(tmp_path)
    assert error.value.path == tmp_path
    assert values(policy) == before


def test_modules_that_are_not_there_are_refused_with_those_that_are(model_directory):
    with pytest.raises(SpecError) as error:
        made(model_directory("qwen2"), lora=LoRA(target_modules=("q_prj",)))
    (problem,) = error.value.problems
    assert problem.path == "lora.target_modules"
    assert {"q_proj", "v_proj", "down_proj"} <= set(problem.choices)


def test_a_model_with_transposed_layers_takes_an_adapter():
    """GPT-2's linear layers hold their weights the other way round."""
    policy = TransformersPolicy(TransformersConfig(lora=LoRA(r=4, alpha=8), device="cpu"))
    plain = TransformersPolicy(TransformersConfig(device="cpu"))
    fine_tune(policy)
    plain.module.load_state_dict(dict(policy.merged_weights()), strict=False)
    assert values(plain) == pytest.approx(values(policy), abs=1e-4)


def test_the_reference_of_kl_is_the_stages_start_and_costs_an_adapter(model_directory):
    policy = made(model_directory("qwen2"))
    fine_tune(policy, steps=8)
    grpo = GRPO(GRPOConfig(steps=3, problems_per_step=2, group_size=4, max_tokens=6, kl_weight=0.1, learning_rate=1e-2))
    steps = list(grpo.train(policy=policy, task=EASY, seed=1))
    assert steps[0].metrics["kl"] == pytest.approx(0, abs=1e-6)
    assert steps[-1].metrics["kl"] > 1e-6
    reference = [name for name in grpo.state().tensors if name.startswith("reference.")]
    assert len(reference) == len(trainable(policy.module))
    shared = {id(p) for p in policy.module.parameters() if not p.requires_grad}
    assert shared == {id(p) for p in grpo._reference.parameters()} & shared


def test_rejection_sampling_keeps_the_first_adapter_alone(model_directory):
    policy = made(model_directory("qwen2"))
    rft = RFT(RFTConfig(rounds=2, steps_per_round=1, problems_per_round=4, samples_per_problem=4, max_tokens=6))
    before = values(policy)
    (_, _) = rft.train(policy=policy, task=EASY, seed=1)
    start = {name[6:]: value for name, value in rft.state().tensors.items() if name.startswith("start.")}
    assert start
    assert all("lora_" in name for name in start)
    assert values(policy) != before
    policy.module.load_state_dict(start, strict=False)
    assert values(policy) == before


@pytest.mark.parametrize(
    "reward",
    [
        lambda policy: AIRL(AIRLConfig(average=0.5), policy=policy),
        lambda policy: AIRL(AIRLConfig(form="lm-density"), policy=policy),
        lambda policy: ImplicitPRM(ImplicitConfig(), policy=policy),
    ],
    ids=["airl", "airl-lm-density", "implicit"],
)
def test_a_reward_shares_the_weights_and_has_an_adapter_of_its_own(reward, model_directory, tmp_path):
    policy = made(model_directory("qwen2"))
    fine_tune(policy, steps=8)
    one, two = reward(policy), reward(policy)
    traces = TASK.traces("train")[:6]
    rollouts = grpo_rollouts(policy)
    before = values(policy)
    for _ in range(3):
        assert one.update(traces, rollouts)["skipped"] == 0
    assert values(policy) == before
    base = {id(p) for p in policy.module.base_model.parameters() if not p.requires_grad}
    assert base <= {id(p) for p in one.net.parameters()}, "held once"
    assert not {id(p) for p in trainable(one.net)} & {id(p) for p in policy.module.parameters()}
    one.save(tmp_path)
    saved = load_file(tmp_path / "reward.safetensors")
    names = [name for name in saved if name.startswith(("net.", "average."))]
    assert all("lora_" in name or "head" in name for name in names), "no more than is its own"
    two.load(tmp_path)
    trajectories = [rollout.trajectory for rollout in rollouts]
    assert two.score(trajectories) == one.score(trajectories)
    assert two.update(traces, rollouts) == one.update(traces, rollouts)
    assert two.score(trajectories) == one.score(trajectories)


def grpo_rollouts(policy):
    grpo = GRPO(GRPOConfig(steps=1, problems_per_step=3, group_size=4, max_tokens=6, learning_rate=1e-9))
    (step,) = grpo.train(policy=policy, task=TASK, seed=1)
    return step.rollouts


def test_a_rewards_trunk_may_be_a_smaller_model_with_tokens_of_its_own(model_directory, tmp_path):
    policy = made(model_directory("qwen2"))
    fine_tune(policy, steps=8)
    trunk = made(model_directory("llama"))
    one = AIRL(AIRLConfig(form="scalar-head"), policy=policy, trunk=trunk)
    traces, rollouts = TASK.traces("train")[:6], grpo_rollouts(policy)
    first = one.update(traces, rollouts)
    for _ in range(20):
        last = one.update(traces, rollouts)
    assert last["loss"] < first["loss"]
    assert {id(p) for p in own(trunk)} <= {id(p) for p in one.net.parameters()}
    trajectories = [rollout.trajectory for rollout in rollouts]
    assert [len(row) for row in one.score(trajectories)] == [len(t.steps) for t in trajectories]
    one.save(tmp_path)
    two = AIRL(AIRLConfig(form="scalar-head"), policy=policy, trunk=trunk)
    two.load(tmp_path)
    assert two.score(trajectories) == one.score(trajectories)
    alone = [two.score([trajectory])[0] for trajectory in trajectories]
    for row, expected in zip(alone, one.score(trajectories), strict=True):
        assert row == pytest.approx(expected, abs=1e-4)


def own(trunk):
    return [p for p in trunk.module.base_model.parameters() if not p.requires_grad]


def test_what_is_not_a_policys_own_is_not_saved_with_a_fork_of_it(model_directory):
    policy = made(model_directory("qwen2"))
    assert own_tensors(policy.module, beside=policy.module) == {}
