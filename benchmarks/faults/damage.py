"""Files under the output folder that are cut, emptied, changed or removed between runs."""

import dataclasses
import itertools
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from benchmarks.faults import results
from benchmarks.faults.baseline import Baseline, copy
from benchmarks.faults.cases import Bench, Case, Verdict
from pipeline.retrain.history import HISTORY_FILE
from pipeline.retrain.loop import PAGE_FILE

_TRAINERS_STATE = ("tfx/checkpoints/*/state.npz", "tfx/checkpoints/*/*.rows")
_ARMS_STATE = ("tfx/checkpoints/*/replicate-*.npz", "tfx/checkpoints/*/*.rows")
# The number of an execution, version or span, an identity, and a time.
_VARYING = re.compile(r"\b(?:\d{8}T[\d.]+Z|[0-9a-f]{16,}|\d{5}(?=-of-))|(?<=/)\d+(?=[/-])")
_AT_ONCE = 10
_EVENTS = re.compile(r"events\.out\.tfevents\.\S+")
# Steps that read the shards of others. Shards that stay in the cache are not read.
_READERS = {
    "ImageExampleGen": ("StatisticsGen", "ImbalanceSampler"),
    "ImbalanceSampler": ("FeatureExtractor*", "Trainer*", "Calibrator"),
    "FeatureExtractor": ("Trainer*",),
}
# A model that is made again is pushed as the next version, and without its metadata store a run
# says that it moved the earlier outputs, which can be deleted.
_EXPECTED = (results.VERSIONS, results.POINTER, "tfx/artifacts.old-")
_HISTORY = (HISTORY_FILE, PAGE_FILE)
_SPANS = "tfx/spans/"
# A retraining whose model the registry has lost is recorded once more.
_RECORDED_AGAIN = f"made too much: {HISTORY_FILE}"
# Users may edit them, so that another valid one can't be told from a damaged one.
_EDITED = ("registry/schema/schema.pbtxt", HISTORY_FILE)
# Without them, or if they are damaged, runs end with a message.
_REQUIRED = ("registry/schema/", results.POINTER, "ledgers/", "tfx/metadata.sqlite")


def cut(path: Path, random: Random) -> None:
    """Removes the end of a file, as a copy that was interrupted."""
    os.truncate(path, random.randrange(path.stat().st_size))


def empty(path: Path, random: Random) -> None:
    """Removes all content, as a file system after a power failure."""
    os.truncate(path, 0)


def flip(path: Path, random: Random) -> None:
    """Changes one bit."""
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def decay(path: Path, random: Random) -> None:
    """Changes one bit but not the file's time, as a failing disk."""
    status = path.stat()
    flip(path, random)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def remove(path: Path, random: Random) -> None:
    """Removes the file."""
    path.unlink()


DAMAGES: tuple[Callable[[Path, Random], None], ...] = (flip, remove, empty, decay, cut)


@dataclass(frozen=True)
class State:
    """The state of an output folder between two runs.

    Attributes:
      undisturbed: what the next run is compared with.
      saved: a copy of the output folder in this state.
      removed: paths that are removed from it, so that the next run reads what it would not have
        read because it is cached.
    """

    undisturbed: Baseline
    saved: Path
    removed: tuple[str, ...] = ()

    def restore(self) -> Path:
        """Sets the output folder to this state, and returns it."""
        output = self.undisturbed.output
        self.undisturbed.set(self.saved)
        _remove(output, self.removed)
        return output

    def files(self) -> Mapping[str, Path]:
        """Returns one file of each kind, relative to the output folder, by a name of the kind."""
        paths = sorted(path for path in self.saved.rglob("*") if path.is_file())
        names = [path.relative_to(self.saved) for path in paths if not path.is_symlink()]
        return {kind(name): name for name in names if not _is_below_link(self.saved, name)}


def _remove(output: Path, patterns: Iterable[str]) -> None:
    for pattern in patterns:
        for path in output.glob(pattern):
            shutil.rmtree(path)


def kind(name: Path) -> str:
    """Returns what a file is, by its path without what differs between files of one kind."""
    return _EVENTS.sub("events.out.tfevents", _VARYING.sub("#", name.as_posix()))


def _is_below_link(root: Path, name: Path) -> bool:
    return any((root / parent).is_symlink() for parent in name.parents)


def cases(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields every damage of every kind of file, each kind of file once before any twice."""
    states = list(_states(bench))
    for turn in range(len(DAMAGES)):
        for state, below in states:
            targets = [item for item in state.files().items() if _is_read(item[0], below)]
            for what, name in random.sample(targets, len(targets)):
                # By the kind of file, so that it is another damage in each turn.
                damage = DAMAGES[(sum(what.encode()) + turn) % len(DAMAGES)]
                if _is_possible(state.saved / name, damage):
                    title = f"{state.undisturbed.command}, {damage.__name__} {what}"
                    seed = random.getrandbits(32)
                    yield Case("damage", title, partial(_inject, state, name, damage, Random(seed)))


def short(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields one case: ten kinds of files damaged at once after a finished run."""
    settled = _settled(bench)
    state = State(settled, settled.saved)
    files = random.sample(sorted(state.files().items()), len(state.files()))
    chosen = [
        (name, damage)
        for (what, name), damage in zip(files, itertools.cycle(DAMAGES))
        if _is_read(what, "")
        and not what.startswith(_REQUIRED)
        and _is_possible(state.saved / name, damage)
    ][:_AT_ONCE]
    title = ", ".join(f"{damage.__name__} {kind(name)}" for name, damage in chosen)
    inject = partial(_inject_all, state, chosen, random)
    yield Case("damage", f"at once: {title}", inject, faults=len(chosen))


def _is_read(what: str, below: str | tuple[str, ...]) -> bool:
    """Returns whether a kind of file is in a folder, and read after it was damaged."""
    # Kept spans are not read as long as the examples are in the cache.
    return what.startswith(below) and not (below == "" and what.startswith(_SPANS))


def _is_possible(path: Path, damage: Callable[[Path, Random], None]) -> bool:
    if damage is not remove and not path.stat().st_size:
        return False
    return not (path.as_posix().endswith(_EDITED) and damage in (flip, decay))


def _states(bench: Bench) -> Iterator[tuple[State, str | tuple[str, ...]]]:
    """Yields states of output folders, and the folders in them whose files are damaged."""
    settled = _settled(bench)
    # Those with few files first.
    yield State(settled, settled.saved, ("tfx/artifacts/ImageE*",)), _SPANS
    yield State(bench.retrain, bench.retrain.saved), (*_HISTORY, "registry/#/")
    yield _interrupted(bench, bench.run, _TRAINERS_STATE), "tfx/checkpoints/"
    yield _interrupted(bench, bench.study, _ARMS_STATE), "tfx/checkpoints/"
    # So that the features are read again.
    yield State(bench.study, bench.study.saved, ("tfx/artifacts/FeatureE*",)), "features/"
    yield State(settled, settled.saved), ""
    yield State(bench.study, bench.study.saved), ""


def _settled(bench: Bench) -> Baseline:
    """Returns the undisturbed run, repeated: its data is checked against the schema it kept."""
    saved = bench.run.saved.with_name("settled")
    bench.run.restore()
    bench.runner.run(bench.run.argv())
    copy(bench.run.output, saved)
    found = results.read(bench.run.output)
    # A step that runs leaves its execution's folder, which the next run removes.
    result = dataclasses.replace(found, names=found.names | bench.run.result.names)
    return dataclasses.replace(bench.run, saved=saved, result=result)


def _interrupted(bench: Bench, undisturbed: Baseline, patterns: Iterable[str]) -> State:
    """Returns the state after a run that was killed when it had written these files."""
    saved = undisturbed.saved.with_name("interrupted")
    if not saved.exists():
        undisturbed.clear()
        process = bench.runner.start(undisturbed.argv())
        while not all(any(undisturbed.output.glob(pattern)) for pattern in patterns):
            if process.poll() is not None:
                raise RuntimeError(f"no run was killed while it had {list(patterns)}")
            time.sleep(0.002)
        process.kill()
        process.wait(30)
        process.left_running()
        copy(undisturbed.output, saved)
    return State(undisturbed, saved)


def _inject(
    state: State,
    name: Path,
    damage: Callable[[Path, Random], None],
    random: Random,
    bench: Bench,
) -> Verdict:
    output = state.restore()
    damaged = {output / name: _damaged(output / name, damage, random)}
    if damage is decay:
        _remove(output, _readers(name))
    return _next_run(bench, state.undisturbed, damaged)


def _inject_all(
    state: State,
    chosen: Sequence[tuple[Path, Callable[[Path, Random], None]]],
    random: Random,
    bench: Bench,
) -> Verdict:
    output = state.restore()
    damaged = {output / name: _damaged(output / name, damage, random) for name, damage in chosen}
    return _next_run(bench, state.undisturbed, damaged)


def _damaged(path: Path, damage: Callable[[Path, Random], None], random: Random) -> bytes | None:
    """Damages a file, and returns what is left of it; None if it is gone."""
    damage(path, random)
    return path.read_bytes() if path.exists() else None


def _next_run(bench: Bench, undisturbed: Baseline, damaged: Mapping[Path, bytes | None]) -> Verdict:
    (first, *_) = damaged
    verdict = bench.next_run(
        dataclasses.replace(undisturbed, may_differ=(*_EXPECTED, _RECORDED_AGAIN)),
        named=[first.name, undisturbed.output],
        remedy=partial(_follow, bench, undisturbed, first),
    )
    used = [path for path in damaged if _is_still_used(undisturbed.output, path, damaged[path])]
    if verdict.survived and used:
        return Verdict(False, f"{verdict.why}, but {used} are still damaged", lost=True)
    return verdict


def _readers(name: Path) -> Iterator[str]:
    """Yields the outputs that are removed, so that the next run reads a shard."""
    if name.name.startswith("data_tfrecord"):
        component = name.parts[2].partition(".")[0]
        for reader in _READERS[component]:
            yield f"tfx/artifacts/{reader}"


def _follow(bench: Bench, undisturbed: Baseline, path: Path) -> None:
    """Does what the message of a refused run says: nothing if it says to run again."""
    name = path.relative_to(undisturbed.output)
    if path.suffix == ".ledger" or str(name) in (results.POINTER, HISTORY_FILE):
        shutil.copy(undisturbed.saved / name, path)  # its backup
    if path.parent.name == "schema":
        shutil.rmtree(path.parent)
    if path.name == "metadata.sqlite":
        path.rename(f"{path}.old")
        bench.runner.run(undisturbed.argv())
        Path(f"{path}.old").unlink()


def _is_still_used(output: Path, path: Path, damaged: bytes | None) -> bool:
    """Returns whether a file that the last run gives as its result is still damaged."""
    if (path.read_bytes() if path.exists() else None) != damaged:
        return False
    folders = [*results.last_outputs(output).values(), results.newest_version(output)]
    return any(folder in path.parents for folder in [*folders, output / "latest"])
