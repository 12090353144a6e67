"""Fuzzes the image reader, the settings, both manifest readers, gates and the Kubeflow settings.

    python -m benchmarks.fuzz --seconds 300
    python -m benchmarks.fuzz --reproduce settings runs/fuzz/crashes/settings-0a1b2c3d.yaml

Each target runs in its own process, with limits of memory and time per case. Atheris mutates
images, guided by coverage, from a generated corpus; Hypothesis generates texts. Each case that
breaks a target is kept in OUTPUT/crashes, next to the error and the command that reproduces it.
Prints one JSON object: the number of cases per target, and the crashes. Exits with 1 if there are
any.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.fuzz import crashes, worker
from benchmarks.fuzz.bounds import bound_memory
from benchmarks.fuzz.targets import TARGETS

_GRACE_SECONDS = 60


def main() -> int:
    """Runs the command; returns its exit code."""
    arguments = _arguments()
    if arguments.reproduce:
        return _reproduce(*arguments.reproduce)
    if arguments.worker:
        worker.fuzz(
            arguments.worker,
            seconds=arguments.seconds,
            seed=arguments.seed,
            output=arguments.output,
        )
        return 0
    share = arguments.seconds / len(arguments.targets)
    cases = {name: _fuzz(name, share, arguments) for name in arguments.targets}
    found = crashes.kept(arguments.output)
    print(json.dumps({"cases": cases, "crashes": [str(path) for path in found]}))
    for path in found:
        print(path.with_name(f"{path.name}.error").read_text(encoding="utf-8"), file=sys.stderr)
    return 1 if found else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fuzz", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("targets", nargs="*", help=f"some of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=float, default=300, help="for all targets together")
    parser.add_argument("--seed", type=int, default=1, help="1 or more")
    parser.add_argument("--output", type=Path, default=Path("runs/fuzz"))
    parser.add_argument(
        "--reproduce", nargs=2, metavar=("TARGET", "FILE"), help="runs one target on one file"
    )
    parser.add_argument("--worker", choices=TARGETS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.targets = arguments.targets or list(TARGETS)
    for name in arguments.targets + (arguments.reproduce or [])[:1]:
        if name not in TARGETS:
            parser.error(f"TARGET must be one of {', '.join(TARGETS)}. Received: {name!r}")
    return arguments


def _reproduce(name: str, path: str) -> int:
    data = Path(path).read_bytes()
    crashes.load(TARGETS[name])
    bound_memory()
    error = crashes.failure(TARGETS[name], data)
    if error is not None:
        raise error
    print(f"{name} handles {path} correctly", file=sys.stderr)
    return 0


def _fuzz(name: str, seconds: float, arguments: argparse.Namespace) -> int:
    """Fuzzes a target, in a new process after a case has ended one; returns the number of cases."""
    end, cases, seed = time.monotonic() + seconds, 0, arguments.seed
    while (left := end - time.monotonic()) > 0 or not cases:
        counted = worker.count(arguments.output, name)
        counted.unlink(missing_ok=True)
        code = _work(name, max(left, 1.0), seed, arguments.output)
        if code == 0:
            return cases + int(counted.read_text(encoding="ascii"))
        _keep_what_ended(name, code, arguments.output)
        cases, seed = cases + 1, seed + 1
    return cases


def _work(name: str, seconds: float, seed: int, output: Path) -> int:
    command = [sys.executable, "-m", "benchmarks.fuzz", "--worker", name]
    command += ["--seconds", str(seconds), "--seed", str(seed), "--output", str(output)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONFAULTHANDLER": "1"})
    try:
        return process.wait(seconds + _GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _keep_what_ended(name: str, code: int, output: Path) -> None:
    running = crashes.in_progress(output, name)
    if not running.exists():
        raise SystemExit(f"the fuzzer of {name} could not start: exit code {code}")
    what = f"ended the process: {signal.strsignal(-code) if code < 0 else f'exit code {code}'}"
    crashes.keep(output, name, what, running.read_bytes(), what)
    running.unlink()


if __name__ == "__main__":
    sys.exit(main())
