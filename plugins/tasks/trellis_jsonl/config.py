r"""What can be set of a task made of JSONL files."""

from __future__ import annotations

import string
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator

from trellis import Config

Name: TypeAlias = Annotated[str, Field(min_length=1)]


class JsonlConfig(Config):
    """Where the files are, what their fields are called, and how an answer is written."""

    train: str | None = None
    """The file of the split `train`, absolute or relative to the working directory; left out, the split is empty."""

    validation: str | None = None
    """The file of the split `validation`."""

    test: str | None = None
    """The file of the split `test`."""

    question: Name = "question"
    """The field that holds the question: a text."""

    answer: Name = "answer"
    """The field that holds the answer: a text or a number. It may be a whole solution that ends with the answer, as in
    GSM8K; it is the problem's trace then."""

    solution: Name | None = None
    """The field that holds a correct solution, or a list of them; each becomes a trace. null or [] is none. Left out, the
    answer is the trace."""

    id: Name | None = None
    """The field that holds a unique name of the problem: a text or an integer. Left out, the split and line number."""

    answer_style: Literal["gsm8k", "math", "text"] = "gsm8k"
    r"""Where the final answer stands and what equals it. "gsm8k": after the last '####', equal as mathematics; "math": in
    the last \boxed{…}, equal as mathematics; "text": the whole text, equal letter by letter but for white space. The
    first two need `trellis[math]`."""

    answer_prefix: str | None = Field(default=None, min_length=1)
    """For the style "text": what stands before the final answer, e.g. "answer: "; all that follows its last occurrence is
    the answer."""

    prompt: str | None = None
    r"""What the policy reads, with `{question}` where the question belongs, e.g. "Q: {question}\nA: "; `{{` and `}}` are
    braces. Left out, the question and the separator."""

    separator: str = Field(default="\n", min_length=1)
    r"""Ends every step but the last: "\n" or "\n\n", for instance."""

    seconds: float = Field(default=5.0, gt=0)
    """An answer that takes longer to compare is not correct."""

    @field_validator("prompt")
    @classmethod
    def _one_placeholder(cls, prompt: str | None) -> str | None:
        if prompt is None:
            return prompt
        mend = "the only placeholder is {question}; write {{ and }} for braces"
        try:
            parts = list(string.Formatter().parse(prompt))
        except ValueError as error:
            raise ValueError(f"{error}: {mend}") from None
        fields = [
            name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            for _, name, spec, conversion in parts
            if name is not None
        ]
        unknown = [name for name in fields if name != "question"]
        if unknown:
            raise ValueError(f"unknown placeholder {{{unknown[0]}}}: {mend}")
        if not fields:
            raise ValueError("{question} is missing: every problem would be asked alike")
        return prompt

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.answer_prefix is not None and self.answer_style != "text":
            raise ValueError("'answer_prefix' belongs to answer_style 'text'; the other styles have their own mark")
        if self.question == self.answer:
            raise ValueError(f"'question' and 'answer' are the same field '{self.question}'")
        files = [file for file in (self.train, self.validation, self.test) if file is not None]
        if len(set(files)) < len(files):
            raise ValueError("a file is given for two splits: no problem may be in two of them")
        return self
