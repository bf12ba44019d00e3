"""Training within a budget of tokens and with checkpointed layers: the same numbers, whatever goes through at once."""

import logging
import subprocess
import sys

import pytest
import torch

from trellis import Outcome, Problem, SampleRequest, Step, Trajectory
from trellis.errors import CapabilityError, MemoryExhaustedError
from trellis.testing.material import Successor, SuccessorConfig
from trellis_airl.airl import AIRL
from trellis_airl.config import AIRLConfig
from trellis_grpo.config import GRPOConfig
from trellis_grpo.grpo import GRPO
from trellis_prm.config import ImplicitConfig
from trellis_prm.implicit import ImplicitPRM
from trellis_sft.config import SFTConfig
from trellis_sft.sft import SFT
from trellis_transformers.config import LoRA, TransformersConfig
from trellis_transformers.policy import TransformersPolicy

SMALL = {"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 96}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


class ShortOnes(Successor):
    """Half of what an untrained model writes is right here."""

    def verify(self, trajectory):
        right = len(trajectory.text) % 2 == 0
        return Outcome(right, float(right))


TASK = ShortOnes(SuccessorConfig())


def made(**options) -> TransformersPolicy:
    return TransformersPolicy(
        TransformersConfig(**{"init": {**SMALL, **NO_DROPOUT}, "seed": 3, "device": "cpu", **options})
    )


def sft(policy) -> None:
    list(SFT(SFTConfig(steps=3, batch_size=12, learning_rate=1e-2, warmup=0)).train(policy=policy, task=TASK))


def grpo(policy) -> None:
    config = GRPOConfig(
        steps=2, problems_per_step=3, group_size=4, max_tokens=8, epochs=2, kl_weight=0.1, learning_rate=1e-3
    )
    list(GRPO(config).train(policy=policy, task=TASK))


def grpo_entropy(policy) -> None:
    config = GRPOConfig(steps=2, problems_per_step=3, group_size=4, max_tokens=8, entropy_weight=0.1)
    list(GRPO(config).train(policy=policy, task=TASK))


def grpo_sequences(policy) -> None:
    config = GRPOConfig(
        steps=2, problems_per_step=3, group_size=4, max_tokens=8, ratio="sequence", loss_average="sequences", epochs=2
    )
    list(GRPO(config).train(policy=policy, task=TASK))


def weights(policy) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in policy.module.parameters()]


@pytest.mark.parametrize("train", [sft, grpo, grpo_entropy, grpo_sequences])
@pytest.mark.parametrize(
    "options",
    [{"batch_tokens": 40}, {"gradient_checkpointing": True}, {"gradient_checkpointing": True, "batch_tokens": 40}],
    ids=["parts", "layers", "both"],
)
def test_training_gives_the_same_weights_as_a_whole_batch_at_once(train, options):
    whole, parts = made(), made(**options)
    train(whole)
    train(parts)
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-3, atol=1e-4)
    assert not torch.equal(weights(made())[0], weights(whole)[0]), "it did train"


@pytest.mark.parametrize("form", ["policy-skip", "shaped", "lm-density", "implicit"])
def test_a_reward_learns_the_same_in_parts(form):
    def learned(policy):
        if form == "implicit":
            reward = ImplicitPRM(ImplicitConfig(beta=1.0), policy=policy)
        else:
            reward = AIRL(AIRLConfig(form=form), policy=policy)
        rollouts = next(
            GRPO(GRPOConfig(problems_per_step=3, group_size=4, max_tokens=8)).train(policy=policy, task=TASK)
        )
        trajectories = [rollout.trajectory for rollout in rollouts.rollouts]
        for _ in range(3):
            reward.update(TASK.traces("train")[:8], rollouts.rollouts)
        return [value for row in reward.score(trajectories) for value in row]

    assert learned(made(batch_tokens=40)) == pytest.approx(learned(made()), abs=1e-3)


def test_checkpointed_layers_are_computed_again_and_draw_no_dropout_in_evaluation():
    """Reinforcement learning takes its gradients in evaluation mode; fine-tuning in training mode."""
    calls = []
    policy = made(init=SMALL, gradient_checkpointing=True)
    policy.module.transformer.h[0].ln_1.register_forward_pre_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    batch = policy.batch([Trajectory(Problem("p", "1\n"), "1\n", (Step("2\n3\n"),), finished=True)])
    first, again = (policy.token_log_probs(batch).sum() for _ in range(2))
    assert torch.equal(first, again), "no dropout"
    assert len(calls) == 2
    again.backward()
    assert len(calls) == 3
    assert not any(module.training for module in policy.module.modules())
    policy.module.train()
    first, again = (policy.token_log_probs(batch).sum() for _ in range(2))
    assert not torch.equal(first, again), "dropout"
    policy.module.eval()
    calls.clear()
    policy.sample([SampleRequest(batch.trajectories[0].__class__(Problem("p", "1\n"), "1\n"), max_tokens=5)])
    assert calls
    assert not any(calls)


def test_an_adapter_gets_its_gradient_through_checkpointed_layers():
    plain, layers = (made(lora=LoRA(r=4), gradient_checkpointing=on) for on in (False, True))
    sft(plain)
    sft(layers)
    torch.testing.assert_close(weights(layers), weights(plain), rtol=1e-3, atol=1e-4)


def small_device(policy, limit: int, *, backward: bool = False) -> list[int]:
    """Let a policy's model run out of memory above `limit` tokens at once; return a list of what was asked of it."""
    asked = []

    def forward(module, args, kwargs):
        asked.append(kwargs["attention_mask"].numel())
        if asked[-1] > limit and (not backward or not torch.is_grad_enabled()):
            raise torch.OutOfMemoryError("tried to allocate too much")

    def after(module, args, kwargs, output):
        if backward and output.logits.requires_grad and output.logits[..., 0].numel() > limit:
            output.logits.register_hook(out_of_memory)

    def out_of_memory(gradient):
        raise torch.OutOfMemoryError("tried to allocate too much")

    policy.module.register_forward_pre_hook(forward, with_kwargs=True)
    policy.module.register_forward_hook(after, with_kwargs=True)
    return asked


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("train", [sft, grpo])
def test_training_backs_off_where_memory_runs_out_and_ends_with_the_same_weights(train, backward, caplog):
    whole, small = made(), made(batch_tokens=1000)
    train(whole)
    asked = small_device(small, limit=64, backward=backward)
    with caplog.at_level(logging.WARNING):
        train(small)
    torch.testing.assert_close(weights(small), weights(whole), rtol=1e-3, atol=1e-4)
    assert max(asked) > 64
    assert small.budget.tokens in (31, 62)
    told = [record.getMessage() for record in caplog.records if record.name == "trellis.memory"]
    assert len(told) <= 2, "once for training, and once for sampling"
    assert any("`batch_tokens: 62`" in line or "`batch_tokens: 31`" in line for line in told)


def test_sampling_and_scoring_back_off_and_give_the_same():
    requests = [
        SampleRequest(TASK.start(problem), n=3, max_tokens=8, seed=k)
        for k, problem in enumerate(TASK.problems("train")[:4])
    ]
    whole, small = made(), made(batch_tokens=1000)
    expected = whole.sample(requests)
    small_device(small, limit=64)
    found = small.sample(requests)
    assert [[c.token_ids for c in group] for group in found] == [[c.token_ids for c in group] for group in expected]
    grown = [TASK.extend(r.prefix, c) for r, group in zip(requests, found, strict=True) for c in group]
    for one, other in zip(small.log_probs(grown), whole.log_probs(grown), strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)


def test_where_not_even_one_trajectory_fits_training_says_what_can_be_done():
    policy = made()
    small_device(policy, limit=3)
    with pytest.raises(MemoryExhaustedError, match=r"one trajectory at a time.*`lora: \{\}`.*`gradient_checkpointing"):
        sft(policy)


def test_half_precision_weights_are_not_trained_as_they_are():
    with pytest.raises(CapabilityError, match=r"`dtype: float32` to train it, or train an adapter .*`lora: \{\}`"):
        sft(made(dtype="bfloat16"))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_every_attention_gives_the_same(attention, model_directory):
    directory = str(model_directory("qwen2"))
    policy, other = (
        TransformersPolicy(TransformersConfig(model=directory, device="cpu", attention=a)) for a in (attention, None)
    )
    assert policy.module.config._attn_implementation == attention
    trace = [Trajectory(Problem("p", "1\n"), "1\n", (Step("2\n3\n"),), finished=True)]
    assert policy.log_probs(trace)[0].log_prob == pytest.approx(other.log_probs(trace)[0].log_prob, abs=1e-4)


PIPELINE = """
version: 1
name: real
components:
  task: {{use: countdown}}
  policy: {{use: transformers, with: {{model: {model}, {settings}}}}}
  sft: {{use: sft}}
stages:
  - {{name: warm-up, run: train, needs: {{optimizer: sft, policy: policy, task: task}}}}
"""
WITHOUT = (
    "import sys; sys.modules['peft'] = None; sys.modules['flash_attn'] = None; from trellis.cli import main; main()"
)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("lora: {r: 8}", "'transformers/transformers' needs the module 'peft': pip install 'trellis[lora]'"),
        ("attention: flash_attention_2, dtype: bfloat16", "needs the module 'flash_attn': pip install flash_attn"),
        ("attention: flash_attention_2", "computes in half precision: set 'dtype: bfloat16'"),
    ],
)
def test_what_settings_want_and_is_not_installed_is_told_at_check(settings, words, tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE.format(model="nobody/nothing", settings=settings))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "check", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert words in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stderr


def test_what_settings_do_not_want_need_not_be_installed(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE.format(model="nobody/nothing", settings="dtype: bfloat16"))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "check", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_flash_attention_wants_a_gpu(model_directory):
    config = TransformersConfig(
        model=str(model_directory("qwen2")), device="cpu", attention="flash_attention_2", dtype="bfloat16"
    )
    with pytest.raises(CapabilityError, match="flash_attention_2 on cpu: set `attention: sdpa`"):
        TransformersPolicy(config)
