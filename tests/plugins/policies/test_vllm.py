"""vLLM: what is said where it is missing, and, where it is installed (make test-vllm), the two policies on a real engine."""

import math
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trellis import Problem, SampleRequest, Step, Trajectory, build, load_pipeline
from trellis.errors import CapabilityError, CheckpointError, GrammarError, SpecError, WeightSyncError
from trellis.plugins import registry
from trellis.search import run_searches
from trellis.testing.check import Subject
from trellis.testing.material import Successor, SuccessorConfig
from trellis.testing.run import checks, run_check
from trellis.testing.suites import PolicySuite
from trellis_grpo.config import GRPOConfig
from trellis_grpo.grpo import GRPO
from trellis_sft.config import SFTConfig
from trellis_sft.sft import SFT
from trellis_transformers.config import LoRA, TransformersConfig
from trellis_transformers.policy import TransformersPolicy
from trellis_vllm.config import RolloutsConfig, VLLMConfig
from trellis_vllm.policy import VLLMPolicy
from trellis_vllm.rollouts import VLLMRollouts

INSTALLED = find_spec("vllm") is not None
on_vllm = pytest.mark.skipif(not INSTALLED, reason="vllm is not installed: make test-vllm")
# What vLLM and what it brings warn of is not this project's.
pytestmark = [pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

ENGINE = {"enforce_eager": True, "kv_cache_gb": 0.1}
TASK = Successor(SuccessorConfig())
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.role == 'assistant' %}<|endoftext|>{% endif %}{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def save_model(byte_level_bpe, tmp_path_factory):
    """Write a small model and its tokenizer; its weights are large enough that its answers are not a matter of rounding."""

    def save(*, tied: bool = False, template: str | None = None) -> Path:
        path = tmp_path_factory.mktemp("model")
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=type(byte_level_bpe).from_str(byte_level_bpe.to_str()),
            eos_token="<|endoftext|>",
            additional_special_tokens=["<|user|>", "<|assistant|>", "<|system|>"],
            clean_up_tokenization_spaces=False,
        )
        tokenizer.chat_template = template
        end = tokenizer.eos_token_id
        sizes = {"vocab_size": len(tokenizer), "bos_token_id": end, "eos_token_id": end, "initializer_range": 0.1}
        torch.manual_seed(0)
        if tied:
            drop = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
            model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=64, n_head=2, n_positions=128, **drop, **sizes))
        else:
            layers = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
            model = LlamaForCausalLM(LlamaConfig(num_key_value_heads=1, max_position_embeddings=128, **layers, **sizes))
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        return path

    return save


@pytest.fixture(scope="module")
def untied(save_model, tmp_path_factory) -> str:
    """A model that has learned a little of the task, so that it ends its steps and its answers."""
    policy = reference(str(save_model()))
    list(SFT(SFTConfig(steps=60, batch_size=8, learning_rate=3e-3)).train(policy=policy, task=TASK))
    path = tmp_path_factory.mktemp("untied")
    policy.save(path)
    return str(path)


@pytest.fixture(scope="module")
def tied(save_model) -> str:
    return str(save_model(tied=True))


@pytest.fixture(scope="module")
def chatting(save_model) -> str:
    return str(save_model(template=TEMPLATE))


def reference(model: str) -> TransformersPolicy:
    return TransformersPolicy(TransformersConfig(model=model, device="cpu"))


@contextmanager
def served(model: str, **settings):
    policy = VLLMPolicy(VLLMConfig(model=model, **ENGINE, **settings))
    with closing(policy.engine):
        yield policy


@contextmanager
def trained(trainer: TransformersPolicy, **settings):
    policy = VLLMRollouts(RolloutsConfig(**ENGINE, **settings), trainer=trainer)
    try:
        yield policy
    finally:
        policy.close()


def requests(**options) -> list[SampleRequest]:
    prompts = ["12 + 3 = ", "7\n", "the answer is ", "901 + 23456 = 1\n\n"]
    return [
        SampleRequest(Trajectory(Problem(text, text), text), seed=10 * index, **{"max_tokens": 24, **options})
        for index, text in enumerate(prompts)
    ]


def under(grammar: str, request: SampleRequest) -> SampleRequest:
    return replace(request, prefix=replace(request.prefix, grammar=grammar))


def nudge(policy, seed: int = 1, scale: float = 0.1) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))


PIPELINE = """
version: 1
name: on-vllm
seed: 7
components:
  task: {use: arithmetic}
  model: {use: transformers}
  policy: {use: vllm-rollouts, needs: {trainer: model}}
  grpo: {use: grpo, with: {importance_cap: 2.0}}
  greedy: {use: greedy}
stages:
  - {name: rl, run: train, needs: {optimizer: grpo, policy: policy, task: task}}
  - {name: test, run: evaluate, needs: {policy: policy, task: task, searches: [greedy]}}
"""


def test_where_vllm_is_missing_the_check_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("trellis.plugins.records._installed", lambda module: module != "vllm")
    path = tmp_path / "on_vllm.yaml"
    path.write_text(PIPELINE)
    with pytest.raises(SpecError) as caught:
        load_pipeline(path)
    (problem,) = caught.value.problems
    assert problem.message == "'vllm/vllm-rollouts' needs the module 'vllm': pip install 'trellis[vllm]'"
    assert (problem.line, problem.path) == (8, "components.policy.use")


def test_where_it_is_there_the_pipeline_checks(tmp_path, monkeypatch):
    monkeypatch.setattr("trellis.plugins.records._installed", lambda module: True)
    path = tmp_path / "on_vllm.yaml"
    path.write_text(PIPELINE)
    assert load_pipeline(path).stages


def test_what_is_for_the_chat_template_wants_it_used():
    with pytest.raises(ValidationError, match=r"'system_prompt' is for the chat template, and 'chat' is false"):
        VLLMConfig(model="m", chat=False, system_prompt="Be brief.")


def test_a_path_without_a_model_is_said_before_an_engine_starts(tmp_path):
    with pytest.raises(CheckpointError, match="there is no directory"):
        VLLMPolicy(VLLMConfig(model="./nowhere"))
    with pytest.raises(CheckpointError, match="the directory holds none"):
        VLLMPolicy(VLLMConfig(model=str(tmp_path)))


@on_vllm
def test_greedy_answers_and_log_probs_are_those_of_the_transformers_policy(untied):
    other = reference(untied)
    with served(untied) as policy:
        for options in ({}, {"stop": "\n"}, {"max_tokens": 3}, {"max_tokens": 500}):
            asked = requests(temperature=0.0, **options)
            for ours, theirs in zip(policy.sample(asked), other.sample(asked), strict=True):
                assert [(c.token_ids, c.pieces, c.finish) for c in ours] == [
                    (c.token_ids, c.pieces, c.finish) for c in theirs
                ]
                assert ours[0].log_probs == pytest.approx(theirs[0].log_probs, abs=1e-4)
        texts = ["12 + 3 = 15\n", " the answer is 30\n", "\n", "third"]
        traces = [replace(r.prefix, steps=tuple(map(Step, texts)), finished=True) for r in requests()]
        for ours, theirs in zip(policy.log_probs(traces), other.log_probs(traces), strict=True):
            assert [s.token_ids for s in ours.steps] == [s.token_ids for s in theirs.steps]
            assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-3)


@on_vllm
def test_searches_answer_as_on_the_transformers_policy(untied):
    problems = TASK.problems("test")[:6]
    other = reference(untied)

    def answers(policy, name, **settings):
        search = build(name, settings)
        reward = build("log-pi", {}, policy=policy) if search.needs_reward else None
        options = {"policy": policy, "task": TASK, "reward": reward, "max_tokens": 8, "max_steps": 4}
        return list(run_searches(problems, search=search, **options))

    with served(untied) as policy:
        texts = [[r.result.best and r.result.best.text for r in answers(p, "greedy")] for p in (policy, other)]
        assert texts[0] == texts[1]
        for report in answers(policy, "beam", width=2, expand=2):
            assert report.num_calls > 2
            for candidate in report.result.candidates:
                (scored,) = other.log_probs([candidate.trajectory])
                assert scored.log_prob == pytest.approx(candidate.trajectory.log_prob, abs=1e-3)


@on_vllm
def test_a_conversation_has_the_tokens_of_its_template(chatting):
    with served(chatting, system_prompt="Be brief.") as policy:
        ids = policy.encoding.prompt("12 + 3 = ")
        text = "<|system|>Be brief.\n<|user|>12 + 3 = \n<|assistant|>"
        assert ids == tuple(policy.encoding.tokenizer(text, add_special_tokens=False).input_ids)
        for (completion,) in policy.sample(requests(temperature=0.0, max_tokens=100)):
            assert completion.finish == "length" or completion.token_ids[-1] in policy.encoding.end_ids


@on_vllm
def test_choices_are_drawn_as_by_the_transformers_policy_with_the_same_log_probs(untied):
    other = reference(untied)
    asked = requests(n=6, choices=("12 + 3", "12", "15\n", "the answer", "3"))
    with served(untied) as policy:
        for ours, theirs in zip(policy.sample(asked), other.sample(asked), strict=True):
            for one, its in zip(ours, theirs, strict=True):
                assert (one.token_ids, one.pieces, one.finish) == (its.token_ids, its.pieces, its.finish)
                assert one.log_probs == pytest.approx(its.log_probs, abs=1e-4)
        chosen = Step("12 + 3", choices=asked[0].choices)
        traces = [replace(r.prefix, steps=(Step("3 = "), chosen, Step("7\n"))) for r in asked]
        traces += [replace(r.prefix, steps=(replace(chosen, text="12"),), finished=True) for r in asked]
        for ours, theirs in zip(policy.log_probs(traces), other.log_probs(traces), strict=True):
            assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-3)


@on_vllm
def test_a_grammar_is_kept_and_log_probs_are_under_its_mask(untied):
    with served(untied) as policy:
        asked = [under('root ::= ("yes" | "no") "\\n"', request) for request in requests(n=8)]
        found = [completion for completions in policy.sample(asked) for completion in completions]
        assert {completion.text for completion in found} == {"yes\n", "no\n"}
        assert {completion.finish for completion in found} == {"end"}
        shares = {c.token_ids: math.exp(sum(c.log_probs)) for c in found if c.log_probs}
        assert all(0 < share < 1 for share in shares.values())
        # Spelled by a single token at each place, with a single way on, nothing is left to chance.
        (certain,) = policy.sample([under('root ::= "~~~"', requests()[0])])[0]
        assert certain.text == "~~~"
        assert certain.log_probs == pytest.approx([0.0] * len(certain.log_probs), abs=1e-5)
        begun = replace(asked[0].prefix, steps=(Step("ye"),))
        with pytest.raises(CapabilityError, match="ask for whole completions"):
            policy.sample([replace(asked[0], prefix=begun)])
        with pytest.raises(CapabilityError, match="Take the transformers policy"):
            policy.log_probs([asked[0].prefix])
        with pytest.raises(GrammarError, match=r"the grammar cannot be read: .*nothing-of-this-name"):
            policy.sample([under("root ::= nothing-of-this-name", requests()[0])])
        assert policy.sample(requests(temperature=0.0)) == policy.sample(requests(temperature=0.0)), "it goes on"


@on_vllm
def test_what_vllm_does_not_do_is_said(untied):
    with served(untied, max_model_len=16) as policy:
        with pytest.raises(CapabilityError, match=r"temperature must be in \[0, 2\]"):
            policy.sample(requests(temperature=2.5))
        long = Trajectory(Problem("p", "p"), "1 2 3 4 5 6 7 8 9 10 11 12 13 14\n", (Step("15\n"),))
        with pytest.raises(CapabilityError, match=r"context of \d+ tokens.*`max_model_len`"):
            policy.log_probs([long])
        ((cut,),) = policy.sample([SampleRequest(long)])
        assert (cut.token_ids, cut.finish) == ((), "length")
        with (
            served(untied),
            pytest.raises(CapabilityError, match="has no engine any more: another one within the same"),
        ):
            policy.sample(requests())


@on_vllm
def test_grpo_learns_from_rollouts_of_an_engine_that_has_the_present_weights(tied):
    trainer = reference(tied)
    with trained(trainer) as policy:
        assert policy.sync == "rebuild", "on a CPU"
        optimizer = GRPO(GRPOConfig(steps=2, problems_per_step=4, group_size=4, max_tokens=8, importance_cap=2.0))
        for step in optimizer.train(policy=policy, task=TASK):
            assert step.metrics["importance_weight"] == pytest.approx(1, abs=1e-3)
            assert step.metrics["sampler_kl"] < 1e-6
        assert policy.num_syncs == 2
        assert policy.difference < 1e-4
        before = policy.sample(requests(temperature=0.0))
        assert policy.num_syncs == 3, "the second step changed the weights"
        assert [c[0].token_ids for c in before] == [c[0].token_ids for c in trainer.sample(requests(temperature=0.0))]
        policy.sample(requests())
        assert policy.num_syncs == 3, "nothing changed since"


@on_vllm
def test_a_sync_that_went_wrong_in_silence_stops_the_run(tied):
    """On a CPU, vLLM 0.32's reloading leaves a tied output layer as it was, and says nothing."""
    with trained(reference(tied), sync="reload") as policy:
        policy.sample(requests())
        nudge(policy)
        with pytest.raises(WeightSyncError, match=r"a sync by 'reload'.*Set `sync: rebuild`") as caught:
            policy.sample(requests())
        assert caught.value.difference > caught.value.tolerance == 0.001
        with pytest.raises(WeightSyncError):
            policy.sample(requests())


@on_vllm
def test_weights_are_reloaded_in_place_where_vllm_does_it_right(untied):
    with trained(reference(untied), sync="reload") as policy:
        policy.sample(requests())
        nudge(policy)
        (first, *_), engine = policy.sample(requests()), policy.engine
        assert policy.num_syncs == 2
        assert policy.difference < 1e-4
        nudge(policy, seed=2)
        assert policy.sample(requests())[0] != first
        assert policy.engine is engine


@on_vllm
def test_an_adapter_reaches_the_engine_merged_into_its_weights(tied):
    trainer = TransformersPolicy(TransformersConfig(model=tied, device="cpu", lora=LoRA()))
    with trained(trainer) as policy:
        policy.sample(requests(max_tokens=2))
        plain = policy.log_probs([replace(requests()[0].prefix, steps=(Step("15\n"),))])
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in filter(lambda p: p.requires_grad, policy.module.parameters()):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        ours = policy.sample(requests(temperature=0.0))
        assert policy.num_syncs == 2
        assert policy.difference < 1e-4
        assert [c[0].token_ids for c in ours] == [c[0].token_ids for c in trainer.sample(requests(temperature=0.0))]
        assert policy.log_probs(plain)[0].log_prob != pytest.approx(plain[0].log_prob, abs=1e-2), "it changed something"


@on_vllm
def test_weight_transfer_takes_a_gpu(untied):
    with pytest.raises(CapabilityError, match="it takes a trainer on a GPU"):
        VLLMRollouts(RolloutsConfig(sync="transfer"), trainer=reference(untied))


@on_vllm
@pytest.mark.slow
def test_engines_in_processes_of_their_own_share_the_work_and_follow_the_seed(untied, monkeypatch):
    def sampled(policy):
        return [[completion.token_ids for completion in completions] for completions in policy.sample(requests(n=4))]

    with served(untied) as policy:
        expected = sampled(policy)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    with served(untied, data_parallel_size=2) as policy:
        assert sampled(policy) == expected
    (check,) = [check for check in checks("policy") if check.id == "sampling-follows-the-seed"]
    result = run_check(check, Subject(registry().find("vllm/vllm"), {"model": untied, **ENGINE}))
    assert (result.passed, result.message) == (True, "")


if INSTALLED:
    ONE_AT_A_TIME = {"sampling-follows-the-seed": "two policies at a time, and one engine fits into this process"}

    class TestVLLM(PolicySuite):
        component = "vllm/vllm"
        expected_failures = ONE_AT_A_TIME

        @pytest.fixture(autouse=True)
        def _model(self, untied):
            type(self).config = {"model": untied, **ENGINE}

    class TestVLLMRollouts(PolicySuite):
        component = "vllm/vllm-rollouts"
        config = ENGINE
        expected_failures = ONE_AT_A_TIME

        @pytest.fixture(autouse=True)
        def _trainer(self, tied):
            type(self).needs = {"trainer": lambda: reference(tied)}
