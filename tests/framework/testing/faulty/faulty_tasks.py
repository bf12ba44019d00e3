"""Tasks with one fault each."""

from dataclasses import replace

from faults import LEGAL, ORACLE, PARSE, TRACES, breaks

from trellis import Outcome, Problem, Step
from trellis.testing.material import Successor


@breaks("splits-are-disjoint", "task", capabilities=TRACES)
class OverlappingSplits(Successor):
    def problems(self, split):
        problems = super().problems(split)
        leaked = replace(super().problems("train")[0], id="leaked")
        return [*problems, leaked] if split == "test" else problems


@breaks("problem-ids-are-unique", "task", capabilities=TRACES)
class SharedIds(Successor):
    def problems(self, split):
        return [replace(problem, id=problem.id[-2:]) for problem in super().problems(split)]


@breaks("problems-are-the-same-in-every-process", "task", capabilities=TRACES)
class OrderedByHash(Successor):
    def problems(self, split):
        return sorted(super().problems(split), key=lambda problem: hash(problem.text))


@breaks("problem-data-is-json", "task", capabilities=TRACES)
class ComplexData(Successor):
    def problems(self, split):
        return [replace(problem, data={"z": 1j}) for problem in super().problems(split)]


@breaks("traces-are-declared", "task")
class SecretTraces(Successor):
    pass


@breaks("traces-are-correct", "task", capabilities=TRACES)
class WrongTraces(Successor):
    def traces(self, split):
        wrong = [replace(t, steps=(Step("7\n"), Step("7")), answer="7 7") for t in super().traces(split)[:1]]
        return [*wrong, *super().traces(split)[1:]]


@breaks("traces-are-correct", "task", capabilities=TRACES)
class UnfinishedTraces(Successor):
    def traces(self, split):
        return [replace(trace, finished=False) for trace in super().traces(split)]


@breaks("traces-have-the-steps-of-their-text", "task", capabilities=TRACES)
class TracesInOneStep(Successor):
    def traces(self, split):
        return [replace(trace, steps=(Step(trace.text),)) for trace in super().traces(split)]


@breaks("traces-belong-to-their-split", "task", capabilities=TRACES)
class LeakedTraces(Successor):
    def traces(self, split):
        return super().traces("test")


@breaks("split-steps-loses-nothing", "task", capabilities=TRACES)
class DropsBlankLines(Successor):
    def split_steps(self, text):
        return [part for part in super().split_steps(text) if part.strip()]


@breaks("verify-takes-any-text", "task", capabilities=TRACES)
class RaisingVerifier(Successor):
    def verify(self, trajectory):
        if trajectory.text:
            int(trajectory.text.replace("\n", ""))
        return super().verify(trajectory)


@breaks("verify-scores-one-exactly-if-correct", "task", capabilities=TRACES)
class TenForCorrect(Successor):
    def verify(self, trajectory):
        outcome = super().verify(trajectory)
        return replace(outcome, score=10.0) if outcome.correct else outcome


@breaks("verify-scores-one-exactly-if-correct", "task", capabilities=TRACES)
class SilentVerifier(Successor):
    def verify(self, trajectory):
        return replace(super().verify(trajectory), reason="")


@breaks("unfinished-is-not-correct", "task", capabilities=TRACES)
class PaysForPassingThrough(Successor):
    def verify(self, trajectory):
        return super().verify(replace(trajectory, finished=True))


@breaks("answer-takes-any-text", "task", capabilities=TRACES)
class RaisingAnswer(Successor):
    def answer(self, trajectory):
        return " ".join(trajectory.text.split()) or trajectory.steps[0].text


@breaks("answer-depends-on-the-text-alone", "task", capabilities=TRACES)
class AnswerCountsTokens(Successor):
    def answer(self, trajectory):
        return f"{super().answer(trajectory)} in {trajectory.num_tokens}"


@breaks("oracle-approves-traces", "task", capabilities=ORACLE)
class GloomyOracle(Successor):
    def step_oracle(self, trajectory):
        return [*super().step_oracle(trajectory)[:-1], *[False for _ in trajectory.steps[-1:]]]


@breaks("oracle-judges-every-step", "task", capabilities=ORACLE)
class ShortOracle(Successor):
    def step_oracle(self, trajectory):
        verdicts = super().step_oracle(trajectory)
        return verdicts[: verdicts.index(False)] if False in verdicts else verdicts


@breaks("legal-steps-are-steps", "task", capabilities=LEGAL)
class RepeatsLegalSteps(Successor):
    def legal_steps(self, trajectory):
        return [*super().legal_steps(trajectory), *super().legal_steps(trajectory)[-1:]]


@breaks("legal-steps-are-steps", "task", capabilities=LEGAL)
class KnowsWrongStepsOnly(Successor):
    def legal_steps(self, trajectory):
        right = {trace.text for split in ("train", "validation", "test") for trace in self.traces(split)}
        steps = super().legal_steps(trajectory)
        return [step for step in steps if not any(text.startswith(trajectory.text + step) for text in right)]


@breaks("legal-steps-are-steps", "task", capabilities=LEGAL)
class ForgetsTheSeparator(Successor):
    def legal_steps(self, trajectory):
        return [step.strip() for step in super().legal_steps(trajectory)]


@breaks("legal-steps-are-steps", "task", capabilities=LEGAL)
class LegalStepsOfTwoLines(Successor):
    def legal_steps(self, trajectory):
        steps = super().legal_steps(trajectory)
        return [*steps, *(step + step for step in steps if step.endswith(self.separator))]


@breaks("legal-steps-are-steps", "task", capabilities=LEGAL)
class GoesOnAfterTheEnd(Successor):
    def legal_steps(self, trajectory):
        return super().legal_steps(replace(trajectory, finished=False, cut=False)) or ["1"]


@breaks("parse-reads-its-own-problems", "task", capabilities=PARSE)
class ForgetfulParser(Successor):
    def problems(self, split):
        return [replace(problem, data={"known": True}) for problem in super().problems(split)]

    def verify(self, trajectory):
        if not trajectory.problem.data:
            return Outcome(correct=False, score=0.0, reason="an unknown problem")
        return super().verify(trajectory)


@breaks("parse-says-what-it-cannot-read", "task", capabilities=PARSE)
class RaisingParser(Successor):
    def parse(self, text):
        return Problem(id=str(int(text)), text=text)
