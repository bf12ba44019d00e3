import subprocess
import sys
from pathlib import Path

import pytest

from trellis import build
from trellis.contracts import Record
from trellis.errors import DatabaseError, MemoryFileError

pytest.importorskip("chromadb", reason="needs the extra `chroma`")

from trellis_chroma.store import Chroma, ChromaConfig


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "chroma")


def records(count=20):
    return [Record(f"r{i}", (1.0, float(i)), {"i": i, "even": i % 2 == 0, "list": [i]}) for i in range(count)]


def test_a_directory_belongs_to_one_store_at_a_time(path):
    store = build("chroma", {"path": path})
    with pytest.raises(MemoryFileError, match=r"another store has it.*`sqlite`"):
        build("chroma", {"path": path})
    store.close()
    build("chroma", {"path": path}).close()


def test_a_damaged_directory_is_told_with_the_way_out(path):
    store = build("chroma", {"path": path})
    store.add(records())
    store.close()
    damage = f"import pathlib; pathlib.Path({path!r}, 'chroma.sqlite3').write_bytes(b'damaged' * 5000)"
    subprocess.run([sys.executable, "-c", damage], check=True)
    # In another process: Chroma keeps a directory's files open in the one that had it.
    code = f"from trellis import build\nstore = build('chroma', {{'path': {path!r}}})\nstore.count()"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert said.returncode != 0
    assert "MemoryFileError" in said.stderr
    assert "`trellis sql rebuild --store chroma`" in said.stderr.replace("\n", " ")
    code = (
        "from trellis_chroma.store import Chroma, ChromaConfig\nfrom trellis import build\n"
        f"print(Chroma.set_aside(ChromaConfig(path={path!r})))\nprint(build('chroma', {{'path': {path!r}}}).count())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    moved, count = said.stdout.split()
    assert (Path(moved) / "chroma.sqlite3").read_bytes().startswith(b"damaged")
    assert count == "0"


def test_only_a_directory_of_its_own_that_nobody_has_is_set_aside(path, tmp_path):
    assert Chroma.set_aside(ChromaConfig(path=path)) is None
    store = build("chroma", {"path": path})
    with pytest.raises(MemoryFileError, match="another store has it"):
        Chroma.set_aside(ChromaConfig(path=path))
    store.close()
    (tmp_path / "theirs").mkdir()
    with pytest.raises(MemoryFileError, match="no directory of Chroma's"):
        Chroma.set_aside(ChromaConfig(path=str(tmp_path / "theirs")))


def test_conditions_combine_and_those_it_cannot_filter_by_are_refused(path):
    store = build("chroma", {"path": path})
    store.add(records())
    found = store.query((1.0, 0.0), 20, {"even": True, "i": 4})
    assert [match.record.id for match in found] == ["r4"]
    with pytest.raises(ValueError, match="texts, numbers and truth values only"):
        store.query((1.0, 0.0), 20, {"list": [1]})
    store.close()


def test_a_server_is_shared_and_one_that_is_not_there_is_told(chroma_port):
    place = {"host": "127.0.0.1", "port": chroma_port, "collection": "shared"}
    one, other = build("chroma-server", place), build("chroma-server", place)
    one.add(records())
    assert other.count() == 20
    assert other.query((1.0, 1e6), 1)[0].record.id == "r19"
    one.close()
    other.close()
    with pytest.raises(DatabaseError, match=r"the Chroma server at 127\.0\.0\.1:1"):
        build("chroma-server", {"host": "127.0.0.1", "port": 1})
