"""Against `transformers serve`, a server that is not ours: it takes no `n` and says no log-probabilities."""

import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from trellis import Problem, SampleRequest, Step, Trajectory, build
from trellis.errors import CapabilityError, EndpointError
from trellis.testing.material import Successor, SuccessorConfig

pytestmark = pytest.mark.slow

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
RESPONSE = {
    "start_anchor": "<|assistant|>",
    "fields": {"content": {"close": "<|end|>", "content": "text", "content_args": {"strip": False}}},
}
START = Trajectory(Problem("p", "12"), "12\n")


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """Make a model's directory: of a type, with a chat template, and a template by which servers find the answer in a reply."""

    def make(model_type, *, chat_template=TEMPLATE, end="<|end|>", end_scale=0.0, response_template=None):
        path = tmp_path_factory.mktemp("served")
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        # Qwen2's tokenizer adds `<|endoftext|>` where it is missing.
        special = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        trainer = trainers.BpeTrainer(
            vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
        tokenizer.train_from_iterator(["12 + 3 = 15\n4 + 5 = 9\n"], trainer)
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, eos_token=end, pad_token=end, chat_template=chat_template
        )
        fast.response_template = response_template
        fast.save_pretrained(path)
        config = AutoConfig.for_model(
            model_type, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, vocab_size=len(fast), eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id,
            max_position_embeddings=256,
        )  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = AutoModelForCausalLM.from_config(config)
        # Untrained, it would as soon write bytes that are no text as text.
        with torch.no_grad():
            ascii_ids = [i for token, i in fast.get_vocab().items() if token.isascii() and i >= len(special)]
            scale = torch.zeros(len(fast), 1)
            scale[ascii_ids], scale[fast.eos_token_id] = 20.0, end_scale
            model.get_output_embeddings().weight *= scale
        model.generation_config.do_sample = True
        model.save_pretrained(path)
        return str(path)

    return make


@pytest.fixture(scope="module")
def directory(directories):
    return directories("qwen2")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = "from transformers.cli.transformers import main; main()"
    # Of no model in particular: it loads the one that a request names.
    command = [sys.executable, "-c", program, "serve", "--device", "cpu", "--dtype", "float32"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    log = tmp_path_factory.mktemp("log") / "serve.log"
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as server:
        try:
            until = time.monotonic() + 120
            while not healthy(port):
                if server.poll() is not None or time.monotonic() > until:
                    pytest.fail(log.read_text())
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()


def healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
            return True
    except OSError:
        return False


@pytest.fixture
def make(url, directory):
    made = []

    def policy(use="openai", **config):
        made.append(build(use, {"base_urls": [url], "model": directory, "timeout_seconds": 60.0} | config))
        return made[-1]

    yield policy
    for each in made:
        each.pool.close()


def test_greedy_completions_are_those_of_transformers(make, directory):
    # The completions API knows no turns.
    local = build("transformers", {"model": directory, "cpu_threads": 1, "device": "cpu", "chat": False})
    for prompt in ("12\n", "4 + 5 = ", "1"):
        begun = Trajectory(Problem("p", prompt), prompt, (Step("3\n"),))
        for prefix in (Trajectory(Problem("p", prompt), prompt), begun):
            request = SampleRequest(prefix, max_tokens=12, temperature=0.0)
            ((found,),), ((expected,),) = make().sample([request]), local.sample([request])
            assert found.text == expected.text
            assert (found.log_probs, found.num_tokens) == ((), expected.num_tokens)


@pytest.mark.parametrize(
    "made",
    [
        {"model_type": "llama"},
        {"model_type": "llama", "chat_template": CHATML, "end": "<|im_end|>"},
        {"model_type": "qwen2", "chat_template": CHATML, "end": "<|im_end|>"},
        # The server looks for ChatML in what a Qwen wrote, and gives back the whole conversation where there is none.
        {"model_type": "qwen2", "response_template": RESPONSE},
    ],
    ids=["llama", "llama-chatml", "qwen2-chatml", "qwen2-response-template"],
)
def test_greedy_turns_are_those_of_transformers(make, directories, made):
    directory = directories(**made, end_scale=40.0)
    ends = set()
    for system_prompt in (None, "Add."):
        local = {"model": directory, "cpu_threads": 1, "device": "cpu", "system_prompt": system_prompt}
        local = build("transformers", local)
        served = make("openai-chat", model=directory, system_prompt=system_prompt)
        for prompt in map(str, range(12)):
            request = SampleRequest(Trajectory(Problem("p", prompt), prompt), max_tokens=24, temperature=0.0)
            ((found,),), ((expected,),) = served.sample([request]), local.sample([request])
            assert found.text == expected.text
            assert (found.num_tokens, found.finish) == (expected.num_tokens, expected.finish)
            ends.add(found.finish)
    assert "end" in ends


@pytest.mark.parametrize("use", ["openai", "openai-chat"])
def test_all_n_come_and_differ(make, use):
    (found,) = make(use).sample([SampleRequest(START, n=4, max_tokens=10, seed=3)])
    assert len(found) == 4
    assert len({one.text for one in found}) > 1
    assert all(1 <= one.num_tokens <= 10 for one in found)
    task = Successor(SuccessorConfig())
    assert [task.extend(START, one).text for one in found] == [one.text for one in found]


def test_a_stop_text_ends_a_step(make):
    (free,) = make().sample([SampleRequest(START, max_tokens=12, temperature=0.0)])[0]
    stop = free.text[3]
    (found,) = make().sample([SampleRequest(START, max_tokens=12, temperature=0.0, stop=stop)])[0]
    assert found.text == free.text[: free.text.index(stop) + 1]
    assert found.finish == "stop"


def test_what_it_does_not_offer_is_said(make, url):
    with pytest.raises(CapabilityError, match="does not repeat a prompt"):
        make().log_probs([Trajectory(Problem("p", "1"), "1\n", (Step("2\n"),))])
    with pytest.raises(EndpointError, match=rf"{url} \(status 422\).*Unexpected fields"):
        make(server="vllm").sample([SampleRequest(START)])
