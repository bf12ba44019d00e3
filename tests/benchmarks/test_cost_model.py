"""The cost model counts what transformers makes, and the document shows what it computes."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "cost_model.py"


@pytest.fixture(scope="module")
def cost_model():
    spec = importlib.util.spec_from_file_location("cost_model", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["cost_model"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "architecture"), [("QWEN_7B", Qwen2Config), ("LLAMA_70B", LlamaConfig)])
def test_parameters_are_those_of_the_architecture(cost_model, name, architecture):
    model = getattr(cost_model, name)
    config = architecture(
        num_hidden_layers=model.layers,
        hidden_size=model.hidden,
        intermediate_size=model.intermediate,
        num_attention_heads=model.heads,
        num_key_value_heads=model.kv_heads,
        vocab_size=model.vocabulary,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(config)
    assert model.parameters == sum(parameter.numel() for parameter in made.parameters())
    layer = made.model.layers[0]
    maps = [module for module in layer.modules() if isinstance(module, torch.nn.Linear)]
    assert sorted(model.projections) == sorted((each.in_features, each.out_features) for each in maps)


def test_the_document_shows_what_is_computed():
    printed = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True).stdout.strip()
    assert printed in (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8"), (
        "write the output of benchmarks/cost_model.py into docs/scaling.md"
    )


def test_numbers_in_the_text_are_those_of_the_table(cost_model):
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8").split("What follows from it")[1]
    whole = cost_model.costs(cost_model.LLAMA_70B, cost_model.Work(processes=32), lora=False)
    assert whole["… a process, split"] == "35.3 GB"
    assert "35 GB each" in text
    assert whole["all weights, while a process samples itself"] == "282.2 GB"
    assert "would hold 282 GB" in text
    adapter = cost_model.costs(cost_model.LLAMA_70B, cost_model.Work(), lora=True)
    assert (whole["moved: weights to an engine"], adapter["moved: weights to an engine"]) == ("282.2 GB", "141.1 GB")
    assert "to which 282 GB go after every step, 141 GB under LoRA" in " ".join(text.split())


def test_costs_grow_with_what_causes_them(cost_model):
    work, model = cost_model.Work(), cost_model.QWEN_7B
    twice = cost_model.costs(model, cost_model.Work(problems=2 * work.problems), lora=False)
    once = cost_model.costs(model, work, lora=False)
    assert int(twice["tokens sampled"].replace(",", "")) == 2 * int(once["tokens sampled"].replace(",", ""))
    assert twice["weights, gradients, moments"] == once["weights, gradients, moments"]
    alone = cost_model.costs(model, cost_model.Work(processes=1), lora=False)
    assert alone["moved: gradients, a process"] == "0.0 MB"
