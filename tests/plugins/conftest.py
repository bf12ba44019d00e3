"""What several kinds' tests share: a small model in a directory, as a hub would give it, a Ray cluster, Chroma and
inference servers."""

import json
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cluster():
    """A Ray cluster of two workers: to start one takes seconds."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
        yield ray
        ray.shutdown()


@pytest.fixture(scope="session")
def chroma_port(tmp_path_factory):
    pytest.importorskip("chromadb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    directory = tmp_path_factory.mktemp("chroma-server")
    command = [
        Path(sys.executable).parent / "chroma",
        "run",
        "--path",
        directory,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with (directory / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            until = time.monotonic() + 60
            while not answers(port):
                if server.poll() is not None or time.monotonic() > until:
                    pytest.fail((directory / "log").read_text())
                time.sleep(0.1)
            yield port
        finally:
            server.terminate()


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    directory = tmp_path_factory.mktemp("tiny-bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz0123456789.,=<>()*'"]
    words += [f"##{word}" for word in "abcdefghijklmnopqrstuvwxyz0123456789"]
    (directory / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(directory / "vocab.txt"), model_max_length=64).save_pretrained(directory)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(directory)
    return str(directory)


END = "<|end|>"
"""The text of the served model's end-of-sequence token, as vLLM shows it among a sample's tokens."""


class InferenceServer(ThreadingHTTPServer):
    """A real HTTP server with OpenAI's completions and chat API around a policy, and vLLM's additions to them.

    Attributes:
        policy: Takes text as it is (`chat: false`): the chat API's templates are the server's affair.
        faults: What happens to the next requests instead of an answer, in order: a status with headers and body, "drop" the
            connection, or a number of seconds to be slow for.
        requests: The bodies received, in order.
        most_at_once: How many requests were under way at once, at most.
        ignores: Fields that it takes no notice of.
        listed: The models it lists.
        grammar: What its model always keeps to: untrained, it would write bytes that are no text.
    """

    daemon_threads = True

    def __init__(self, policy):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.policy = policy
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.faults = []
        self.requests = []
        self.headers_seen = []
        self.ignores = set()
        self.listed = ["tiny"]
        self.grammar = None
        self.under_way = self.most_at_once = 0
        self.lock = threading.Lock()
        self.generating = threading.Lock()
        self.released = threading.Event()

    def handle_error(self, request, client_address):
        """Clients that give up are part of the tests."""

    def complete(self, body, *, prompt, written=""):
        """Return the choices: text, tokens, log-probabilities, and how each ended."""
        from trellis import Problem, SampleRequest, Step, Trajectory

        body = {name: value for name, value in body.items() if name not in self.ignores}
        grammar = (body.get("structured_outputs") or {}).get("grammar", self.grammar)
        steps = (Step(written),) if written else ()
        stop = (body.get("stop") or [None])[0]
        request = SampleRequest(
            Trajectory(Problem("served", prompt), prompt, steps, grammar=grammar),
            n=body.get("n", 1),
            max_tokens=body["max_tokens"],
            stop=stop,
            temperature=body["temperature"],
            seed=body["seed"],
        )
        (completions,) = self.policy.sample([request])
        return [self.choice(completion, body, stop=stop) for completion in completions]

    def read(self, body):
        """Return a conversation as a prompt, with what is written of the answer: by a template as vLLM does."""
        turns = body["messages"]
        if self.policy.tokenizer.chat_template is None:
            text = {turn["role"]: turn["content"] for turn in turns}
            return text.get("system", "") + text["user"], text.get("assistant", "")
        prompt = self.policy.tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=body.get("add_generation_prompt", True),
            continue_final_message=body.get("continue_final_message", False),
        )
        return prompt, ""

    def choice(self, completion, body, *, stop):
        tokens = [*completion.pieces]
        if completion.finish == "end":
            tokens[-1] = END
        text = completion.text
        found = {"text": text, "finish_reason": "length" if completion.finish == "length" else "stop"}
        if body.get("include_stop_str_in_output"):
            found["stop_reason"] = stop if completion.finish == "stop" else None
        elif completion.finish == "stop":
            found["text"] = text.removesuffix(stop)
        return found | {"tokens": tokens, "log_probs": completion.log_probs}

    def score(self, text):
        """Return the tokens of a text and their log-probabilities; of the first there is none."""
        from trellis import Problem, Step, Trajectory

        ended = text.endswith(END)
        trajectory = Trajectory(
            Problem("served", text), text[0], (Step(text.removesuffix(END)[1:]),), finished=ended, grammar=self.grammar
        )
        (scored,) = self.policy.log_probs([trajectory])
        (step,) = scored.steps
        tokens = [text[0], *self.policy._pieces.split(step.token_ids)]
        if ended:
            tokens[-1] = END
        return tokens, [None, *step.log_probs]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        if not self.faulty():
            self.reply(200, {"object": "list", "data": [self.model(name) for name in self.server.listed]})

    def model(self, name):
        return {"id": name, "object": "model", "created": 0, "owned_by": "tests"}

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:
            server.requests.append(body)
            server.headers_seen.append(dict(self.headers))
            server.under_way += 1
            server.most_at_once = max(server.most_at_once, server.under_way)
        try:
            if not self.faulty():
                with server.generating:
                    answer = self.chat(body) if self.path.endswith("/chat/completions") else self.completion(body)
                self.reply(200, answer)
        finally:
            with server.lock:
                server.under_way -= 1

    def faulty(self):
        with self.server.lock:
            fault = self.server.faults.pop(0) if self.server.faults else None
        if fault == "drop":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif isinstance(fault, tuple):
            status, headers, body = fault
            self.reply(status, body, headers)
        elif isinstance(fault, (int, float)):
            self.server.released.wait(fault)
            return False
        return fault is not None

    def completion(self, body):
        if body.get("echo"):
            if "echo" in self.server.ignores or "logprobs" in self.server.ignores:
                return self.answer([{"index": 0, "text": "", "finish_reason": "length", "logprobs": None}], 0)
            tokens, log_probs = self.server.score(body["prompt"])
            (more,) = self.server.complete(body | {"seed": 0}, prompt=body["prompt"])
            shown = {"tokens": tokens + more["tokens"], "token_logprobs": [*log_probs, *more["log_probs"]]}
            text = body["prompt"] + more["text"]
            choice = {"index": 0, "text": text, "finish_reason": more["finish_reason"], "logprobs": shown}
            return self.answer([choice], 1, num_prompt_tokens=len(tokens))
        found = self.server.complete(body, prompt=body["prompt"])
        choices = []
        for index, one in enumerate(found):
            tokens, log_probs = one.pop("tokens"), one.pop("log_probs")
            shown = {"tokens": tokens, "token_logprobs": log_probs} if "logprobs" not in self.server.ignores else None
            choices.append({"index": index, **one, "logprobs": shown, "count": len(tokens)})
        return self.answer(choices, sum(choice.pop("count") for choice in choices))

    def chat(self, body):
        prompt, written = self.server.read(body)
        choices = []
        for index, one in enumerate(self.server.complete(body, prompt=prompt, written=written)):
            text, tokens, log_probs = one.pop("text"), one.pop("tokens"), one.pop("log_probs")
            listed = [
                {"token": t, "logprob": v, "bytes": None, "top_logprobs": []}
                for t, v in zip(tokens, log_probs, strict=True)
            ]
            shown = {"content": listed} if "logprobs" not in self.server.ignores else None
            message = {"role": "assistant", "content": text}
            choices.append({"index": index, "message": message, **one, "logprobs": shown, "count": len(tokens)})
        return self.answer(choices, sum(choice.pop("count") for choice in choices), kind="chat.completion")

    def answer(self, choices, num_tokens, kind="text_completion", num_prompt_tokens=1):
        answer = {"id": "x", "object": kind, "created": 0, "model": "tiny", "choices": choices}
        if "usage" not in self.server.ignores:
            total = num_prompt_tokens + num_tokens
            answer["usage"] = {
                "prompt_tokens": num_prompt_tokens, "completion_tokens": num_tokens, "total_tokens": total
            }  # fmt: skip
        return answer

    def reply(self, status, body, headers=()):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="session")
def served_policy():
    from trellis import build

    init = {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 256}
    return build("transformers", {"seed": 1, "cpu_threads": 1, "device": "cpu", "init": init})


@pytest.fixture(scope="session")
def serve(served_policy):
    """Start a server; all are stopped at the end."""
    servers = []

    def start(policy=served_policy):
        server = InferenceServer(policy)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.released.set()
        server.shutdown()
        server.server_close()
