"""Models made from scratch and from directories, checkpoints, and the mistakes a person can make in asking for them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from trellis import Completion, Problem, SampleRequest, Step, Task, Trajectory
from trellis.errors import CapabilityError, CheckpointError, SpecError, TokenizerError
from trellis.spec import load_pipeline
from trellis.testing.material import material
from trellis_transformers.config import CharacterTokenizer, TransformersConfig
from trellis_transformers.policy import TransformersPolicy

SMALL: dict[str, bool | int | float | str] = {"model_type": "gpt2", "n_layer": 1, "n_embd": 16, "n_head": 2}
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXTS = ["12 + 3 = 15\n\n", "15 * 2 = 30.\n\n", "the answer is 30\n", "first, second (third)\n"] * 20


def made(**options) -> TransformersPolicy:
    return TransformersPolicy(TransformersConfig(**{"init": SMALL, "device": "cpu", **options}))


def start(prompt: str = "1 + 1\n") -> Trajectory:
    return Trajectory(Problem("p", prompt), prompt)


def byte_level() -> PreTrainedTokenizerFast:
    """A byte-level BPE of the kind of Llama 3 and Qwen 2: line breaks in a row are one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def metaspace() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    alphabet = [chr(code) for code in range(32, 127)]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module", params=["llama", "qwen2", "llama-metaspace"])
def directory(request, tmp_path_factory) -> Path:
    """A model's directory as a person has it."""
    path = tmp_path_factory.mktemp(request.param)
    tokenizer = metaspace() if request.param == "llama-metaspace" else byte_level()
    torch.manual_seed(0)
    if request.param == "qwen2":
        # As Qwen's own: more rows than the tokenizer has tokens.
        model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer) + 60, num_key_value_heads=1, **SIZES))
    else:
        model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=1, **SIZES))
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def policy(directory) -> TransformersPolicy:
    return TransformersPolicy(TransformersConfig(model=str(directory), device="cpu"))


def test_what_a_directorys_model_samples_is_scored_the_same_with_its_text_and_tokens(policy):
    task: Task = material("task")
    requests = [
        SampleRequest(task.start(p), n=3, max_tokens=24, seed=k) for k, p in enumerate(task.problems("train")[:4])
    ]
    for request, completions in zip(requests, policy.sample(requests), strict=True):
        for completion in completions:
            trajectory = task.extend(request.prefix, completion)
            assert trajectory.text == completion.text == "".join(completion.pieces)
            (scored,) = policy.log_probs([trajectory])
            assert [s.token_ids for s in scored.steps] == [s.token_ids for s in trajectory.steps]
            assert sum(len(s.token_ids) for s in scored.steps) == len(completion.token_ids)
            values = [value for step in scored.steps for value in step.log_probs]
            assert values == pytest.approx(completion.log_probs, abs=1e-4)


def test_a_trace_is_read_step_by_step_and_ends_with_the_end(policy):
    texts = ["12 + 3 = 15\n", " the answer is 30\n", "\n", "third)"]
    (scored,) = policy.log_probs([replace(start(), steps=tuple(map(Step, texts)), finished=True)])
    ids = [token for step in scored.steps for token in step.token_ids]
    assert ids[-1] == policy.tokenizer.eos_token_id
    assert "".join(policy._pieces.split(ids)) == "".join(texts)
    assert all(step.token_ids for step in scored.steps)


def test_a_search_that_goes_on_from_a_step_reads_the_text_it_wrote(policy):
    """Sampled step by step, the pieces of the second step begin as the text goes on, with its space."""
    prefix = replace(start(), steps=(Step("12 +"),))
    for completion in policy.sample([SampleRequest(prefix, n=8, max_tokens=6, seed=1)])[0]:
        tokens = [*policy._pieces.encode("12 +"), *completion.token_ids]
        assert "".join(policy._pieces.split(tokens)) == "12 +" + completion.text


def test_a_token_that_goes_on_past_the_separator_leaves_no_step_without_tokens():
    """`\\n\\n` is one token of many models: the empty line belongs to the step that it ends."""
    task: Task = material("task")
    tokenizer = byte_level()
    first, blank, last = (tokenizer(text).input_ids for text in ("15", "\n\n", "30"))
    assert len(blank) == 1
    ids = (*first, *blank, *last)
    pieces = (*("",) * (len(first) - 1), "15", "\n\n", *("",) * (len(last) - 1), "30")
    trajectory = task.extend(start(), Completion(ids, pieces, (-1.0,) * len(ids), "end"))
    assert trajectory.text == "15\n\n30"
    assert tuple(token for step in trajectory.steps for token in step.token_ids) == ids
    assert [step.text for step in trajectory.steps] == ["15\n\n", "30"]
    assert all(step.token_ids for step in trajectory.steps)


def test_a_directory_survives_fill_and_check(directory, tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        f"""
version: 1
name: own-model
components:
  task: {{use: countdown}}
  policy: {{use: transformers, with: {{model: {directory}, device: cpu}}}}
  sft: {{use: sft, with: {{steps: 1}}}}
stages:
  - {{name: warm-up, run: train, needs: {{optimizer: sft, policy: policy, task: task}}}}
"""
    )
    filled = load_pipeline(path)
    again = tmp_path / "filled.yaml"
    again.write_text(filled.to_yaml())
    config = load_pipeline(again).components["policy"].config
    assert config == filled.components["policy"].config
    assert config.model == str(directory)


def test_the_same_seed_makes_the_same_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one, two, other = made(seed=5), made(seed=5), made(seed=6)
    assert torch.equal(torch.rand(1), expected)
    for a, b in zip(one.module.parameters(), two.module.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(not torch.equal(a, b) for a, b in zip(one.module.parameters(), other.module.parameters(), strict=True))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_are_held_in_the_dtype_asked_for_and_log_probs_in_float32(dtype):
    policy = made(dtype=dtype)
    assert {parameter.dtype for parameter in policy.module.parameters()} == {getattr(torch, dtype)}
    batch = policy.batch([replace(start(), steps=(Step("2\n"),))])
    assert policy.token_log_probs(batch).dtype == torch.float32
    (completion,) = policy.sample([SampleRequest(start(), max_tokens=3)])[0]
    assert all(value <= 0 for value in completion.log_probs)


def test_it_goes_on_in_another_policy_where_it_was_saved(tmp_path):
    one, two = made(seed=1), made(seed=2)
    request = SampleRequest(start(), n=4, max_tokens=8)
    before = two.sample([request])
    one.save(tmp_path)
    two.load(tmp_path)
    assert two.sample([request]) == one.sample([request]) != before


def test_what_is_saved_is_a_model_directory(tmp_path):
    one = made(seed=1, tokenizer=CharacterTokenizer(words=(" + ",), numbers=30))
    one.save(tmp_path)
    two = TransformersPolicy(TransformersConfig(model=str(tmp_path), device="cpu"))
    request = SampleRequest(start("12 + 13\n"), n=4, max_tokens=8)
    assert two.sample([request]) == one.sample([request])


def wrong_shape(path: Path) -> None:
    made(init={**SMALL, "n_embd": 32}).save(path)


def wrong_architecture(path: Path) -> None:
    made(init={"model_type": "llama", "num_key_value_heads": 1, **SIZES}).save(path)


def cut_short(path: Path) -> None:
    made().save(path)
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])


def without_weights(path: Path) -> None:
    made().save(path)
    (path / "model.safetensors").unlink()


def not_there(path: Path) -> None:
    path.rmdir()


@pytest.mark.parametrize("fault", [wrong_shape, wrong_architecture, cut_short, without_weights, not_there])
def test_a_checkpoint_that_does_not_fit_is_refused_and_the_weights_are_kept(fault, tmp_path):
    path = tmp_path / "policy"
    path.mkdir()
    fault(path)
    policy = made()
    before = {name: value.clone() for name, value in policy.module.state_dict().items()}
    with pytest.raises(CheckpointError, match="holds no weights for this policy") as error:
        policy.load(path)
    assert error.value.path == path
    for name, value in policy.module.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_tokenizer_without_an_end_is_refused(tmp_path):
    policy = made()
    policy.tokenizer = byte_level()
    policy.tokenizer.eos_token = None
    policy.module.resize_token_embeddings(len(policy.tokenizer))
    policy.save(tmp_path)
    with pytest.raises(TokenizerError, match="has no end-of-sequence token: set `eos_token`"):
        TransformersPolicy(TransformersConfig(model=str(tmp_path), device="cpu"))


FAULTY_INITS = {
    "no-model-type": ({"n_layer": 2}, "init.model_type", "`model_type` is missing"),
    "unknown-model-type": ({"model_type": "gpt22"}, "init.model_type", "named 'gpt22'; did you mean 'gpt2'"),
    "unknown-field": ({**SMALL, "n_lyer": 3}, "init.n_lyer", "gpt2 has no field 'n_lyer'; did you mean 'n_layer'"),
    "field-of-another": ({**SMALL, "rope_theta": 5.0}, "init.rope_theta", "gpt2 has no field 'rope_theta'"),
    "filled-in": ({**SMALL, "vocab_size": 300}, "init.vocab_size", "filled in from the tokenizer: leave it out"),
    "wrong-type": ({**SMALL, "n_layer": "two"}, "init", "expected int, got str"),
    "heads": ({**SMALL, "n_embd": 30, "n_head": 4}, "init", "divisible by num_heads"),
    "llama-heads": (
        {"model_type": "llama", **SIZES, "hidden_size": 30, "num_attention_heads": 4},
        "init",
        "multiple of",
    ),
    "key-value-heads": (
        {"model_type": "llama", **SIZES, "num_attention_heads": 4, "num_key_value_heads": 3},
        "init",
        "cannot make this llama",
    ),
    "negative": ({**SMALL, "n_layer": -1}, "init", "cannot make this gpt2"),
    "activation": ({**SMALL, "activation_function": "relux"}, "init", "relux"),
}


@pytest.mark.parametrize(("init", "path", "words"), FAULTY_INITS.values(), ids=FAULTY_INITS)
def test_an_architecture_that_cannot_be_made_is_refused_by_name(init, path, words):
    with pytest.raises(SpecError) as error:
        made(init=init)
    (problem,) = error.value.problems
    assert problem.path == path
    assert words in problem.message


def test_all_unknown_fields_are_named_at_once():
    with pytest.raises(SpecError) as error:
        made(init={**SMALL, "n_lyer": 3, "heads": 2})
    assert [problem.path for problem in error.value.problems] == ["init.n_lyer", "init.heads"]
    assert all("n_layer" in problem.choices for problem in error.value.problems)


def test_other_names_that_an_architecture_knows_are_taken():
    gpt2 = made(init={"model_type": "gpt2", "num_hidden_layers": 1, "hidden_size": 16, "n_head": 2})
    assert (gpt2.module.config.n_layer, gpt2.module.config.n_embd) == (1, 16)
    llama = made(init={"model_type": "llama", "num_key_value_heads": 1, "rope_theta": 77.0, **SIZES})
    assert llama.module.config.rope_parameters["rope_theta"] == 77.0


def test_an_architecture_with_a_recurrent_state_is_refused():
    """Its samples would be wrong, and nothing would say so: the padding before a prompt goes through the state."""
    with pytest.raises(CapabilityError, match=r"no exact sampling of mamba: .* Take one that attends only"):
        made(init={"model_type": "mamba", "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4})


@pytest.mark.parametrize("name", ["./missing", "/no/such/model", "~/models/mine", "models/mine/checkpoint"])
def test_a_path_without_a_directory_is_refused_and_not_looked_for_elsewhere(name):
    with pytest.raises(CheckpointError, match="`model`: there is no directory"):
        TransformersPolicy(TransformersConfig(model=name))


def test_a_name_that_is_neither_a_directory_nor_on_the_hub_says_both():
    with pytest.raises(CheckpointError, match=r"at 'nobody/nothing' \(no directory .*nobody/nothing, nor on the hub\)"):
        TransformersPolicy(TransformersConfig(model="nobody/nothing"))


def test_a_directory_without_a_model_says_so(tmp_path):
    with pytest.raises(CheckpointError, match=r"the directory holds no such pair.*written by `save_pretrained`"):
        TransformersPolicy(TransformersConfig(model=str(tmp_path)))


def test_a_model_beside_an_init_is_refused():
    with pytest.raises(ValueError, match="leave them out beside 'model'"):
        TransformersConfig(model="./mine", init=SMALL)


@pytest.mark.parametrize("device", ["gpu0", "cuda:99", "meta", *([] if torch.cuda.is_available() else ["cuda"])])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(device):
    with pytest.raises(CapabilityError, match=rf"no device '{device}': set `device` to one that is here \(.*cpu.*\)"):
        made(device=device)


def test_auto_is_the_best_device_there_is():
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert made(device="auto").device.type == made(device=None).device.type == best
