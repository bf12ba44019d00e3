"""Prompt builders with one fault each."""

from itertools import count

from faults import breaks

from trellis import Config, PromptBuilder
from trellis.sql import Renaming

CALLS = count()


class PoliteConfig(Config):
    word: str = "Please"
    """What the prompt begins with."""


class Polite(PromptBuilder):
    """The problem's text with a word before it. Nothing is wrong with this one."""

    Config = PoliteConfig

    def __init__(self, config):
        self.word = config.word

    def build(self, problem, situation=None):
        return f"{self.word} solve: {problem.text}\n"


@breaks("prompt-is-the-same-each-time", "prompt")
class NumbersItsPrompts(Polite):
    def build(self, problem, situation=None):
        return f"{next(CALLS)} {super().build(problem, situation)}"


@breaks("prompt-tells-problems-apart", "prompt")
class SaysNothing(Polite):
    def build(self, problem, situation=None):
        return f"{self.word} write hints.\n"


@breaks("names-of-answers-are-names-of-relations", "prompt")
class RenamesTheFirst(Polite):
    def renaming(self, query):
        return Renaming({query.relations[0].alias: "t1"})
