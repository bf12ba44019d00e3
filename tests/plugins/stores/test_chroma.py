import subprocess
import sys

import pytest

from trellis import build
from trellis.contracts import Record
from trellis.errors import DatabaseError, MemoryFileError

pytest.importorskip("chromadb", reason="needs the extra `chroma`")


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
    assert "the memory rebuilds it from its journal" in said.stderr


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
