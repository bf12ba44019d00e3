"""Importing trellis, or a plugin's entry-point module, stays cheap: the heavy libraries wait until they are used."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "vllm", "chromadb", "psycopg", "duckdb", "numpy")
PYPROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
MODULES = ("trellis", "trellis.cli", *PYPROJECT["project"]["entry-points"]["trellis"].values())


@pytest.mark.parametrize("module", MODULES)
def test_importing_brings_in_no_heavy_library(module):
    program = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert finished.stdout.strip() == "[]", finished.stderr
