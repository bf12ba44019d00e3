"""Every component of this distribution passes the conformance kit."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from trellis import build
from trellis.plugins import registry
from trellis.testing import check_component

DATA = Path(__file__).parent / "tasks" / "data"
FEW_PROBLEMS = {"train_size": 60, "validation_size": 20, "test_size": 20}

CONFIGS: dict[str, dict[str, object]] = {
    "beam/beam": {"width": 2},
    "beam/dvts": {"trees": 2},
    "best-of-n/best-of-n": {"settle": 0.9},
    "best-of-n/majority": {"settle": 0.9},
    "best-of-n/weighted-majority": {"settle": 0.9},
    "code/list-program": FEW_PROBLEMS,
    "code/string-program": FEW_PROBLEMS,
    "combination/weighted-sum": {"weights": {"reward": 2.0}},
    "core/processes": {"workers": 2},
    "grpo/grpo": {"steps": 3},
    "gym/gym": FEW_PROBLEMS,
    "jsonl/jsonl": {"train": str(DATA / "gsm8k-train.jsonl"), "test": str(DATA / "gsm8k-test.jsonl")},
    "mcts/mcts": {"widening": 1.0},
    "prm/monte-carlo": {"completions": 2, "max_tokens": 24},
    "ray/ray": {"workers": 2},
    "reasoning/arithmetic": FEW_PROBLEMS,
    "reasoning/countdown": FEW_PROBLEMS,
    "reasoning/equation": FEW_PROBLEMS,
    "reasoning/logic": FEW_PROBLEMS,
    "reasoning/path": FEW_PROBLEMS,
    "reasoning/units": FEW_PROBLEMS,
    "sft/rft": {"rounds": 2, "steps_per_round": 2, "samples_per_problem": 8, "max_tokens": 5},
    "sft/sft": {"steps": 3},
    "transformers/transformers": {
        "init": {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 256}
    },
}
"""Small sizes, for quick checks; a component that is not here takes its defaults."""

SLOW = {"ray/ray"}
"""Those that start processes for every check."""

EXPECTED_FAILURES: dict[str, dict[str, str]] = {}
"""By component: the checks known to fail, and why."""

COMPONENTS = sorted(
    component.id for component in registry().components().values() if component.distribution == "trellis"
)


@pytest.fixture(scope="module")
def running_server(tmp_path_factory):
    """A server that is open all the time, so that the kit need not start one for every check."""
    directory = str(tmp_path_factory.mktemp("kit") / "postgres")
    backend = build("postgres", {"directory": directory})
    backend.server.start()
    CONFIGS["postgres/postgres"] = {"directory": directory}
    CONFIGS["pgvector/pgvector"] = {"dsn": backend.admin_dsn()}
    CONFIGS["pgvector/pgvector-hnsw"] = {"dsn": backend.admin_dsn(), "table": "with_index"}
    yield
    backend.close()


@pytest.fixture(scope="module")
def small_model(tiny_bert):
    """A model in a directory: the default one would be fetched from the hub."""
    CONFIGS["embed/sentence-transformers"] = {"model": tiny_bert}


@pytest.fixture(scope="module")
def chroma(request, tmp_path_factory):
    """Chroma's directory and server, where it is installed: it is no part of the extra `dev`."""
    if find_spec("chromadb"):
        CONFIGS["chroma/chroma"] = {"path": str(tmp_path_factory.mktemp("kit") / "chroma")}
        CONFIGS["chroma/chroma-server"] = {"host": "127.0.0.1", "port": request.getfixturevalue("chroma_port")}


@pytest.fixture(scope="module")
def inference_server(serve):
    """An inference server for the policies that ask one."""
    server = serve()
    server.grammar = r"root ::= [ -~\n]*"
    CONFIGS["openai/openai"] = {"base_urls": [server.url], "server": "vllm", "end_token": "<|end|>"}
    CONFIGS["openai/openai-chat"] = {"base_urls": [server.url], "server": "vllm"}


@pytest.mark.usefixtures("running_server", "small_model", "chroma", "inference_server")
@pytest.mark.parametrize("component", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in COMPONENTS])
def test_it_passes_the_kit(component, request):
    if component == "ray/ray":
        request.getfixturevalue("cluster")
    if component.startswith("chroma/"):
        pytest.importorskip("chromadb")
    if component.startswith("vllm/"):
        pytest.skip("needs an engine: make test-vllm runs it, in tests/plugins/policies/test_vllm.py")
    results = check_component(
        component, config=CONFIGS.get(component), expected_failures=EXPECTED_FAILURES.get(component)
    )
    assert {result.id: result.message for result in results if result.passed is False} == {}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("qwen2", {"lora": {"r": 4, "alpha": 8}, "gradient_checkpointing": True, "batch_tokens": 256}),
        ("llama", {"system_prompt": "Be brief."}),
    ],
    ids=["lora", "system-prompt"],
)
def test_a_real_checkpoint_passes_the_kit(kind, settings, model_directory):
    results = check_component(
        "transformers/transformers", config={"model": str(model_directory(kind)), "device": "cpu", **settings}
    )
    assert {result.id: result.message for result in results if result.passed is False} == {}


def test_configs_are_of_components_that_exist():
    assert CONFIGS.keys() | EXPECTED_FAILURES.keys() <= set(COMPONENTS)
