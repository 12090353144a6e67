"""Folders that can't be written to: the output, its parts, HOME, and those for temporary files."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

from benchmarks.faults.cases import FINISHED, Bench, Case, Verdict, left_behind, unclear
from benchmarks.faults.disks import Disk, can_mount, disk
from benchmarks.faults.runner import CLI, PROJECT, Process

_READ_ONLY = "mount -o remount,ro {0}"
_WRITABLE = "mount -o remount,rw {0}"
_PART_READ_ONLY = "mount --bind {0} {0} && mount -o remount,bind,ro {0}"
_PART_WRITABLE = "umount {0}"
_NEW = "the new output is read-only"
_PARTS = ("registry", "runs", "tfx", "tfx/artifacts", "tfx/metadata.sqlite")
# The project and the benchmark's folder may be in one of those, and stay visible.
_FULL = """
for folder in /tmp /var/tmp /usr/tmp; do
    test -d $folder || continue
    exec 3< {here} 4< {project}
    mount -t tmpfs -o size=64k tmpfs $folder
    for kept in 3:{here} 4:{project}; do
        case ${{kept#*:}} in $folder/*)
            mkdir -p ${{kept#*:}}
            mount --no-canonicalize --bind /proc/self/fd/${{kept%%:*}} ${{kept#*:}}
        esac
    done
    head -c 1m /dev/zero > $folder/fill 2> /dev/null || truncate -s -{free} $folder/fill
done
"""
_NOWHERE = "/nonexistent"
_UNWRITABLE = "/proc"  # even for root
_HOMES: Mapping[str, Mapping[str, str | None]] = {
    "HOME does not exist": {"HOME": _NOWHERE},
    "HOME is not writable": {"HOME": _UNWRITABLE},
    "HOME is not set": {"HOME": None},
    "HOME and XDG folders are not writable": {
        "HOME": _UNWRITABLE,
        "XDG_CACHE_HOME": f"{_UNWRITABLE}/cache",
        "XDG_CONFIG_HOME": f"{_UNWRITABLE}/config",
    },
    "TMPDIR does not exist": {"TMPDIR": _NOWHERE},
    "TMPDIR is not writable": {"TMPDIR": _UNWRITABLE},
}


def cases(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields each folder once."""
    if can_mount(bench.run.output):
        yield Case("folders", _NEW, partial(_read_only, False))
        yield Case("folders", "the output becomes read-only", partial(_read_only, True))
        for part in _PARTS:
            yield Case("folders", f"{part} is read-only", partial(_part_read_only, part))
        for free in (0, 4096):
            for cwd in (bench.folder, Path(_UNWRITABLE)):
                name = f"/tmp with {free} bytes free, working in {cwd}"
                yield Case("folders", name, partial(_temporary_full, free, cwd))
    for name, env in _HOMES.items():
        yield Case("folders", name, partial(_with_environment, env))


def short(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields the folders that need neither a new Python nor a whole run."""
    for case in cases(bench, random):
        if case.name.endswith("read-only") and case.name != _NEW:
            yield case


def _read_only(made_before: bool, bench: Bench) -> Verdict:
    with _output_disk(bench, made_before=made_before) as mounted:
        mounted.change(_READ_ONLY.format(mounted.folder))
        return _refused_then_equal(bench, mounted, mounted.folder, _WRITABLE)


def _part_read_only(part: str, bench: Bench) -> Verdict:
    with _output_disk(bench, made_before=True) as mounted:
        path = mounted.folder / part
        mounted.change(_PART_READ_ONLY.format(path))
        return _refused_then_equal(bench, mounted, path, _PART_WRITABLE)


def _refused_then_equal(bench: Bench, mounted: Disk, path: Path, remedy: str) -> Verdict:
    process = bench.runner.start(bench.run.argv(), prepare=mounted.place.prepare)
    outcome = process.wait(600)
    if outcome.code not in FINISHED and (
        problems := [*unclear(outcome, [path, "writable"]), *left_behind(process)]
    ):
        return Verdict(False, "; ".join(problems))
    mounted.change(remedy.format(path))
    after = bench.next_run(bench.run, place=mounted.place)
    how = "unaffected" if outcome.code in FINISHED else "refused in words"
    return replace(after, why=f"{how}; {after.why}")


@contextmanager
def _output_disk(bench: Bench, *, made_before: bool) -> Iterator[Disk]:
    """Mounts a disk at the output folder, with or without the outputs of a run."""
    with disk(bench.run.output) as mounted:
        if made_before:
            mounted.change(f"cp -a {bench.run.saved}/. {mounted.folder}")
        yield mounted


def _temporary_full(free: int, cwd: Path, bench: Bench) -> Verdict:
    bench.run.clear()
    with disk(bench.folder / "namespace") as namespace:
        namespace.change(_FULL.format(here=bench.folder, project=PROJECT, free=free))
        process = bench.runner.start(
            bench.run.argv(), env={"TMPDIR": "/tmp"}, cwd=cwd, prepare=namespace.place.prepare
        )
        outcome = process.wait(600)
    if outcome.code in FINISHED:
        return _unaffected(bench, process)
    if problems := list(unclear(outcome, ["TMPDIR"])):
        return Verdict(False, "; ".join(problems))
    after = bench.next_run(bench.run, earlier=[process])
    return replace(after, why=f"refused in words; {after.why}")


def _with_environment(env: Mapping[str, str | None], bench: Bench) -> Verdict:
    bench.run.clear()
    process = bench.runner.start(bench.run.argv(), env=env, command=CLI, preloaded=False)
    outcome = process.wait(600)
    if outcome.code in FINISHED:
        return _unaffected(bench, process)
    if problems := list(unclear(outcome, [*env])):
        return Verdict(False, "; ".join(problems))
    return bench.next_run(bench.run)


def _unaffected(bench: Bench, process: Process) -> Verdict:
    problems = [*bench.run.differences(), *left_behind(process)]
    return Verdict(not problems, "; ".join(problems) or "unaffected", bool(problems))
