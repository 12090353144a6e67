"""Injects faults into whole runs and checks what becomes of them.

    python -m benchmarks.faults
    python -m benchmarks.faults --kind kill --kind sigterm --each 10 --seed 2
    python -m benchmarks.faults --short

After each fault the next run must end equal to an undisturbed one, with nothing left over, or in
words that name the file and the remedy. Prints a line per fault on standard error, then one JSON
object: the number of faults injected and survived, and of those after which something that had
been made was lost or wrong without a word. Exits with 1 unless all are survived.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from random import Random

from benchmarks.faults.cases import Bench, Case, Verdict
from benchmarks.faults.kinds import KINDS, SHORT, Cases
from benchmarks.faults.runner import Runner

_EACH = 120


def main() -> int:
    """Runs the command; returns its exit code."""
    arguments = _arguments()
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    kinds = arguments.kind or (SHORT if arguments.short else KINDS)
    with tempfile.TemporaryDirectory(prefix="faults-", dir=arguments.folder) as name:
        folder = Path(name)
        with Runner(folder / "processes") as runner:
            found = inject(
                Bench(runner, folder),
                kinds=kinds,
                each=arguments.each,
                seed=arguments.seed,
                short=arguments.short,
            )
    print(json.dumps(found))
    return 0 if found["injected"] == found["survived"] else 1


def inject(
    bench: Bench, *, kinds: Iterable[str], each: int, seed: int, short: bool = False
) -> dict[str, int | dict[str, dict[str, int]]]:
    """Injects faults.

    Args:
      bench: the undisturbed runs.
      kinds: the kinds of faults.
      each: number of faults of each kind; fewer if there are fewer, more by those of one case.
      seed: of what is drawn.
      short: the short form of the kinds that have one.

    Returns:
      The numbers `injected`, `survived` and `lost`, and the same for each of `kinds`.
    """
    counts = {kind: Counter(injected=0, survived=0, lost=0) for kind in kinds}
    for case in _cases(bench, {kind: _of(kind, short) for kind in counts}, each, seed):
        begun = time.monotonic()
        verdict = _verdict(case, bench)
        _count(counts[case.kind], case, verdict)
        _report(case, verdict, time.monotonic() - begun)
    total: Counter[str] = Counter(injected=0, survived=0, lost=0)
    for count in counts.values():
        total.update(count)
    return {**total, "kinds": {kind: dict(count) for kind, count in counts.items()}}


def _of(kind: str, short: bool) -> Cases:
    return SHORT.get(kind, KINDS[kind]) if short else KINDS[kind]


def _cases(bench: Bench, kinds: Mapping[str, Cases], each: int, seed: int) -> Iterator[Case]:
    for kind, cases in kinds.items():
        injected = 0
        for case in cases(bench, Random(f"{kind} {seed}")):
            if injected >= each:
                break
            injected += case.faults
            yield case


def _verdict(case: Case, bench: Bench) -> Verdict:
    try:
        return case.inject(bench)
    except OSError as error:  # such as a run that does not end in time
        return Verdict(False, f"the case can't be judged: {error!r}")


def _count(count: Counter[str], case: Case, verdict: Verdict) -> None:
    survived, lost = case.faults * verdict.survived, case.faults * verdict.lost
    count.update(injected=case.faults, survived=survived, lost=lost)


def _report(case: Case, verdict: Verdict, seconds: float) -> None:
    state = "survived" if verdict.survived else "LOST" if verdict.lost else "NOT SURVIVED"
    line = f"{case.kind}: {case.name}: {state}, {verdict.why} ({seconds:.1f} s)"
    print(line, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--kind", action="append", choices=KINDS, help="default: all")
    parser.add_argument(
        "--each", type=int, default=_EACH, help="faults of each kind, if it has as many"
    )
    parser.add_argument("--short", action="store_true", help="the form that the tests run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="for temporary files; default: TMPDIR")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
