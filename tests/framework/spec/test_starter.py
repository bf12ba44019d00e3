"""The file `trellis init` writes."""

import pytest

from trellis.errors import SpecError
from trellis.spec import load_pipeline
from trellis.spec.starter import write_starter


def test_it_is_a_pipeline_of_the_given_name(tmp_path):
    file = write_starter("my-first_1", directory=tmp_path)
    assert file == tmp_path / "my-first_1.yaml"
    pipeline = load_pipeline(file)
    assert pipeline.name == "my-first_1"
    assert [stage.registered.id for stage in pipeline.stages] == ["core/train", "core/evaluate"]


def test_it_overwrites_nothing(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("precious", encoding="utf-8")
    with pytest.raises(SpecError, match=r"mine\.yaml: is there already"):
        write_starter("mine", directory=tmp_path)
    assert file.read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize("name", ["", "a b", "../a", "a.yaml", "a\n"])
def test_a_name_that_no_pipeline_can_have_is_refused(name, tmp_path):
    with pytest.raises(SpecError, match="is no name for a pipeline"):
        write_starter(name, directory=tmp_path)
    assert not list(tmp_path.iterdir())
