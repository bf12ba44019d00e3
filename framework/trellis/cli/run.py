"""`trellis run` and `trellis solve`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from trellis.cli.output import JsonFlag, echo_json, warn_of_failures
from trellis.cli.spec import NoLocalPlugins, PipelineFile, SetOption


def run(
    pipeline: PipelineFile,
    set_: SetOption = None,
    seed: Annotated[int | None, typer.Option(help="The pipeline's seed.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps or auto.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run directory; runs/<name>-<time> by default.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, or with the latest of this name.")
    ] = False,
    no_local_plugins: NoLocalPlugins = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Show no progress, only the final tables and where the run lies.")
    ] = False,
) -> None:
    """Run a pipeline, or go on with one that was stopped. Ctrl-C finishes the step and saves."""
    from rich.console import Console

    from trellis.distributed import start
    from trellis.report.table import policies_table, results_table, rewards_table
    from trellis.run.pipeline import run_pipeline
    from trellis.spec import load_pipeline

    loaded = load_pipeline(
        pipeline, overrides=set_ or (), seed=seed, device=device, allow_local_plugins=not no_local_plugins
    )
    main = start().main
    if main:
        warn_of_failures(loaded.registry)
    console = Console()
    # A table that is cut to fit says nothing: a narrow terminal wraps its lines instead.
    tables = Console(width=max(200, console.width))
    try:
        done = run_pipeline(loaded, out=out, resume=resume, console=None if quiet else console)
    except KeyboardInterrupt as interrupt:
        typer.echo("\n".join(["stopped at once", *getattr(interrupt, "__notes__", [])]), err=True)
        raise
    if not main:
        if done.interrupted:
            raise typer.Exit(130)
        return
    for name, stage in done.results.stages.items():
        if stage.rows:
            tables.print(results_table(f"{loaded.name}: {name}", stage.rows))
        if stage.policies:
            tables.print(policies_table(f"{loaded.name}: {name}, the policy", stage.policies))
        if stage.rewards:
            tables.print(rewards_table(f"{loaded.name}: {name}, the rewards", stage.rewards))
    if done.interrupted:
        words = ["trellis", "run", str(pipeline)]
        words += [word for item in set_ or () for word in ("--set", item)]
        words += [] if seed is None else ["--seed", str(seed)]
        words += [] if device is None else ["--device", device]
        words += ["--no-local-plugins"] if no_local_plugins else []
        typer.echo(f"stopped and saved; go on with: {shlex.join([*words, '--out', str(done.path), '--resume'])}")
        raise typer.Exit(130)
    typer.echo(f"the run lies in {done.path}")


def solve(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    problem: Annotated[str, typer.Argument(help="The problem, as the run's task reads it, e.g. '3 7 8 2 -> 24'.")],
    search: Annotated[str | None, typer.Option(help="A search of the pipeline, or any installed one.")] = None,
    reward: Annotated[str | None, typer.Option(help="A reward of the pipeline.")] = None,
    weights: Annotated[str | None, typer.Option(help="The stage after which the policy is taken.")] = None,
    seed: Annotated[int, typer.Option(help="Of the samples.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps or auto.")] = None,
    json: JsonFlag = False,
) -> None:
    """Answer a problem of your own with a trained run. Exits with 2 if no correct answer was found."""
    from trellis.run.pipeline import Run
    from trellis.run.solve import solve as solve_problem

    solution = solve_problem(
        Run.open(run, device=device), problem, search=search, reward=reward, weights=weights, seed=seed
    )
    best, outcome = solution.report.result.best, solution.report.outcome
    steps = best.steps if best else ()
    rewards: list[float | None] = [*solution.step_rewards] or [None] * len(steps)
    if json:
        record = {
            "problem": solution.report.problem.text,
            "policy": solution.policy,
            "search": solution.search,
            "reward": solution.reward,
            "steps": [
                {"text": step.text.rstrip("\n"), "reward": value, "log_prob": step.log_prob}
                for step, value in zip(steps, rewards, strict=True)
            ],
            "answer": best.answer if best else None,
            "correct": outcome.correct,
            "reason": outcome.reason,
            "tokens": solution.report.num_tokens,
            "seconds": solution.report.seconds,
        }
        echo_json(record)
    else:
        typer.echo(f"{solution.report.problem.text}")
        used = f"policy {solution.policy}, search {solution.search}"
        typer.echo(f"{used}, reward {solution.reward}" if solution.reward else used)
        for step, value in zip(steps, rewards, strict=True):
            shown = "" if value is None else f"{value:+8.3f}"
            typer.echo(f"  {shown}  {step.text.rstrip()}")
        verdict = "correct" if outcome.correct else f"not correct: {outcome.reason}"
        answer = f"answer: {best.answer}" if best else "no answer"
        typer.echo(f"{answer} ({verdict}; {solution.report.num_tokens} tokens, {solution.report.seconds:.2f} s)")
    if not outcome.correct:
        raise typer.Exit(2)
