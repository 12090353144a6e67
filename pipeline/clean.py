"""Finds and removes what an output folder keeps of earlier runs, and no later run needs.

Kept are the outputs of each pipeline's newest finished run and of runs begun since, which the same
command resumes; their features; the registry, ledgers, spans and the results in `runs`. The rest
only saves time if an earlier run is repeated. Outputs are withdrawn from the
cache before their files are removed, so that a repeated run makes them again.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components import artifacts, feature_records, names
from components.in_progress import remove
from pipeline import local, metadata_store

OUTPUTS = "outputs of earlier runs"
UNFINISHED = "outputs of steps that did not finish"
FEATURES = "features that the newest runs do not use"
CHECKPOINTS = "trainings that were interrupted before the newest run"
MOVED = "outputs that no metadata store lists"

_RUN = "pipeline_run"
# A run in another output folder may be using a store of features that has just grown.
_QUIET_SECONDS = 24 * 60 * 60


@dataclass(frozen=True)
class Item:
    """A file or folder that can be removed.

    Attributes:
      path: where it is.
      reason: what it is.
      size: in bytes; that of a file with several links counts with the last of them, and not at all
        if one remains.
      artifact: id of the output in the metadata store; None if it is not an output.
    """

    path: Path
    reason: str
    size: int
    artifact: int | None = None


def clean(output: Path, *, now: float, remove_them: bool) -> list[Item]:
    """Finds what can be removed from an output folder, and removes it if asked to.

    Args:
      output: the output folder of runs and studies.
      now: seconds since the epoch, with which the age of features is compared.
      remove_them: whether to remove what is found.

    Returns:
      What was found, in the order of the paths.

    Raises:
      RunError: a run is using the folder.
      MetadataStoreError: the metadata store is damaged or in use.
      OSError: a file can't be removed.
    """
    output = output.absolute()
    with local.locked(output, "lock"):
        store = None
        if not metadata_store.is_new(metadata_store.path(output)):
            store = metadata_store.connect(output)
        found = _sized(sorted(_found(output, store, now), key=lambda item: item.path))
        if remove_them:
            _remove(found, store)
        return found


def _remove(found: Iterable[Item], store: Any) -> None:
    listed = list(found)
    withdrawn = {item.artifact for item in listed if item.artifact is not None}
    if withdrawn:
        outputs = store.get_artifacts_by_id(sorted(withdrawn))
        for each in outputs:
            each.state = each.DELETED
        # First, so that a cleanup that is killed leaves no output whose files are lost.
        store.put_artifacts(outputs)
    for item in listed:
        remove(item.path)


def _found(output: Path, store: Any, now: float) -> Iterator[Item]:
    for path in output.glob("tfx/artifacts.old-*"):
        yield _item(path, MOVED)
    if store is None:
        return
    kept = _Kept.of(store)
    yield from _outputs(output, store, kept)
    yield from _features(output, kept, now)
    if kept.all_finished:
        for path in output.glob("tfx/checkpoints/*"):
            yield _item(path, CHECKPOINTS)


@dataclass(frozen=True)
class _Kept:
    """What is not removed.

    Attributes:
      folders: the last three parts of the paths of outputs: step, output and number.
      all_finished: whether the newest run of each pipeline is finished.
    """

    folders: frozenset[tuple[str, ...]]
    all_finished: bool

    @classmethod
    def of(cls, store: Any) -> "_Kept":
        results = {
            kind.id
            for kind in store.get_artifact_types()
            if kind.name in (artifacts.Report.TYPE_NAME, artifacts.StudyReport.TYPE_NAME)
        }
        runs: dict[str, list[list[Any]]] = {}
        for run in sorted(store.get_contexts_by_type(_RUN), key=lambda run: run.id):
            pipeline = ", ".join(each.name for each in store.get_parent_contexts_by_context(run.id))
            runs.setdefault(pipeline, []).append(store.get_artifacts_by_context(run.id))
        kept: set[tuple[str, ...]] = set()
        all_finished = True
        for made in runs.values():
            finished = [any(each.type_id in results for each in outputs) for outputs in made]
            all_finished &= finished[-1]
            first = max((number for number, done in enumerate(finished) if done), default=0)
            kept.update(_folder(each) for outputs in made[first:] for each in outputs)
        return cls(frozenset(kept), all_finished)


def _folder(artifact: Any) -> tuple[str, ...]:
    # By step, output and number, since the folder may have another path than when it was made.
    return Path(artifact.uri).parts[-3:]


def _outputs(output: Path, store: Any, kept: _Kept) -> Iterator[Item]:
    listed = {_folder(each): each.id for each in store.get_artifacts()}
    root = output / "tfx" / "artifacts"
    for path in root.glob("[!.]*/[!.]*/*"):
        folder = path.relative_to(root).parts
        if folder not in kept.folders:
            artifact = listed.get(folder)
            yield _item(path, UNFINISHED if artifact is None else OUTPUTS, artifact)


def _features(output: Path, kept: _Kept, now: float) -> Iterator[Item]:
    root = output / "tfx" / "artifacts"
    featured = [folder for folder in kept.folders if folder[1] == names.FEATURED_EXAMPLES]
    keys = {feature_records.key_of_examples(str(root.joinpath(*folder))) for folder in featured}
    if "" in keys:  # of an earlier release: it is not known what the run uses
        return
    for path in (output / "features").glob("[!.]*"):
        times = [each.lstat().st_mtime for each in (path, *path.rglob("*"))]
        if path.name not in keys and now - max(times) > _QUIET_SECONDS:
            yield _item(path, FEATURES)


def _item(path: Path, reason: str, artifact: int | None = None) -> Item:
    return Item(path, reason, 0, artifact)


def _sized(items: Iterable[Item]) -> list[Item]:
    """Returns the items with the size that is free without all of them."""
    links: Counter[tuple[int, int]] = Counter()

    def freed(path: Path) -> int:
        status = path.lstat()
        links[status.st_dev, status.st_ino] += 1
        is_last = links[status.st_dev, status.st_ino] >= status.st_nlink
        return status.st_size if is_last else 0

    def files(path: Path) -> Iterator[Path]:
        below = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
        return (each for each in (path, *below) if each.is_symlink() or not each.is_dir())

    return [replace(each, size=sum(map(freed, files(each.path)))) for each in items]
