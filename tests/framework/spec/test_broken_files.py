"""Each broken file in `data/broken` gives exactly the messages beside it.

A first line `# trellis check OPTIONS` gives options. `TRELLIS_WRITE_EXPECTED=1 pytest …` writes the messages anew; read
the difference.
"""

import os
import shlex
from pathlib import Path

import pytest

from trellis.errors import SpecError
from trellis.spec import load_pipeline

BROKEN = Path(__file__).parent / "data" / "broken"


@pytest.mark.parametrize("name", sorted(path.stem for path in BROKEN.glob("*.yaml")))
def test_broken_file_gives_its_messages(name, registry, monkeypatch):
    monkeypatch.chdir(BROKEN)
    monkeypatch.setenv("TRELLIS_TEST_SECRET", "hunter2")
    monkeypatch.delenv("TRELLIS_TEST_NOT_SET", raising=False)
    file = Path(f"{name}.yaml")
    with pytest.raises(SpecError) as raised:
        load_pipeline(file, registry=registry, **_options(file))
    messages = f"{raised.value}\n"
    expected = Path(f"{name}.txt")
    if os.environ.get("TRELLIS_WRITE_EXPECTED") == "1":
        expected.write_text(messages, encoding="utf-8")
    assert messages == expected.read_text(encoding="utf-8")
    assert "hunter2" not in messages


def test_every_message_file_has_its_yaml():
    assert {path.stem for path in BROKEN.glob("*.txt")} == {path.stem for path in BROKEN.glob("*.yaml")}


def _options(file: Path) -> dict:
    first = file.read_bytes().splitlines()[0].decode("utf-8", errors="replace")
    if not first.startswith("# trellis check "):
        return {}
    options = {"overrides": []}
    words = iter(shlex.split(first.removeprefix("# trellis check ")))
    for word in words:
        if word == "--no-local-plugins":
            options["allow_local_plugins"] = False
        elif word == "--seed":
            options["seed"] = int(next(words))
        else:
            assert word == "--set"
            options["overrides"].append(next(words))
    return options
