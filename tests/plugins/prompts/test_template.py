"""Templates of a user's own."""

import pytest

from trellis import build
from trellis.errors import PromptTemplateError


def built(scene, tmp_path, template, name="compact"):
    path = tmp_path / "my.j2"
    path.write_text(template, encoding="utf-8")
    return build(name, {"template": str(path)}).build(scene().problem, scene())


def test_a_template_can_be_replaced(scene, tmp_path):
    assert built(scene, tmp_path, "{% for r in relations %}{{ r.table }};{% endfor %}").count(";") == 3


def test_a_name_that_is_not_there_is_said_with_line_and_names(scene, tmp_path):
    with pytest.raises(
        PromptTemplateError, match=r"my\.j2, line 2: 'nobody' is undefined.*default, edges, neighbours"
    ) as caught:
        built(scene, tmp_path, "so\n{{ nobody }}")
    assert caught.value.line == 2


def test_a_text_that_is_no_template_is_said_when_it_is_made(scene, tmp_path):
    with pytest.raises(PromptTemplateError, match="line 2"):
        built(scene, tmp_path, "so\n{% for %}")
    with pytest.raises(PromptTemplateError, match="cannot be read"):
        build("plain", {"template": str(tmp_path / "nowhere.j2")})


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ relations.append(1) }}",
        "{{ relations[0].__init__ }}",
    ],
)
def test_a_template_reaches_and_changes_nothing_else(scene, tmp_path, attack):
    with pytest.raises(PromptTemplateError):
        built(scene, tmp_path, attack)


def test_facts_that_look_like_templates_are_texts(scene, tmp_path):
    text = built(scene, tmp_path, "{{ sql }}", name="plain")
    assert text.startswith("SELECT")
