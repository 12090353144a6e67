"""Two runs at once: in one output folder, and in two that share a feature store."""

import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

from benchmarks.faults import baseline, results
from benchmarks.faults.baseline import Baseline
from benchmarks.faults.cases import FINISHED, Bench, Case, Verdict, left_behind, unclear


def cases(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields two studies with one store, and a second run in each component of the first."""
    for part in ("a new", "a known"):
        yield Case("two_runs", f"{part} feature store", partial(_one_store, part == "a known"))
    for component in bench.run.seconds:
        name = f"one output, the second run starts in {component}"
        yield Case("two_runs", name, partial(_one_output, component, False))


def short(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields a second run in a first one that has nothing to do."""
    yield Case("two_runs", "one output", partial(_one_output, next(iter(bench.run.seconds)), True))


def _one_output(component: str, made_before: bool, bench: Bench) -> Verdict:
    bench.run.restore() if made_before else bench.run.clear()
    first = bench.runner.start(bench.run.argv())
    first.wait_for(f"{component}: running")
    first.send(signal.SIGSTOP)  # or it could end before the second begins
    second = bench.runner.start(bench.run.argv())
    refused = second.wait(600)
    first.send(signal.SIGCONT)
    outcome = first.wait(600)
    problems = list(unclear(refused, ["another run is using", bench.run.output, "--output"]))
    problems += [*left_behind(first), *left_behind(second)]
    if outcome.code not in FINISHED:
        problems.append(f"the first run ended with {outcome.code}: {outcome.err[-300:]}")
    differences = bench.run.differences()
    why = "; ".join(problems + differences) or "the second was refused, the first was equal"
    return Verdict(not (problems or differences), why, bool(differences))


def _one_store(known: bool, bench: Bench) -> Verdict:
    store = bench.folder / ("known" if known else "new")
    settings = baseline.write_study(bench.folder / "shared", bench.sample, feature_store=str(store))
    both = [_elsewhere(bench.study, settings, name) for name in ("first", "second")]
    if known:
        bench.runner.run(both[0].argv())
    for each in both:
        each.clear()
    processes = [bench.runner.start(each.argv()) for each in both]
    codes = [process.wait(600).code for process in processes]
    if codes != [0, 0]:
        ends = " / ".join(process.err[-300:] for process in processes)
        return Verdict(False, f"the studies ended with {codes}: {ends}")
    problems = [problem for process in processes for problem in left_behind(process)]
    problems += [f"left over: {path}" for path in store.rglob(".*")]
    differences = [problem for each in both for problem in each.differences()]
    why = "; ".join((problems + differences)[:5]) or "both studies were equal"
    return Verdict(not (problems or differences), why, bool(differences))


def _elsewhere(study: Baseline, settings: Path, name: str) -> Baseline:
    """The same study with other settings and another output folder."""
    output = study.output.parent / name
    # Its own feature store is not among the names.
    names = frozenset(path for path in study.result.names if not path.startswith("features"))
    result: results.Result = replace(study.result, names=names)
    return replace(study, settings=settings, output=output, result=result)
