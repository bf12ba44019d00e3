"""Templates: jinja2 in a sandbox, where a name that is not there is an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from trellis.errors import PromptTemplateError

_OWN = Path(__file__).parent / "templates"


class PromptTemplate:
    """A template that has been read.

    Args:
        path: A user's file; None for the plugin's own.
        default: The name of the plugin's own, e.g. "plain.j2".

    Raises:
        PromptTemplateError: It cannot be read, or is no template.
    """

    def __init__(self, path: str | None, *, default: str) -> None:
        self.path = _OWN / default if path is None else Path(path).expanduser()
        # What a template may reach are the facts it is given: no attribute that starts with an underscore, nothing to change.
        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
        )
        try:
            self._template = environment.from_string(self.path.read_text(encoding="utf-8"))
        except TemplateSyntaxError as error:
            raise PromptTemplateError(
                self.path, reason=error.message or "it is no template", line=error.lineno
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise PromptTemplateError(self.path, reason=f"it cannot be read: {error}") from error

    def render(self, variables: Mapping[str, object]) -> str:
        """Return the text.

        Raises:
            PromptTemplateError: It uses a name that is not there, or what it may not.
        """
        try:
            return self._template.render(variables)
        except TemplateError as error:
            known = ", ".join(sorted(variables))
            raise PromptTemplateError(
                self.path,
                reason=f"{error.message or type(error).__name__}. Its variables are {known}",
                line=_line(error),
            ) from error


def _line(error: TemplateError) -> int | None:
    """Return the line of the template at which it went wrong."""
    traceback, line = error.__traceback__, None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
