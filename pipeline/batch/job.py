"""A job: lists the images, scores what an earlier, killed job has not, and joins the rows.

1. The images are listed and sorted on disk, and divided into shards of consecutive images.
2. In Beam, one call per shard writes its rows into the work folder, `OUTPUT.parts`.
3. The rows are joined into the output, which appears whole, and the work folder is removed.

The memory does not depend on the number of images. A job that is repeated after a kill scores the
shards that have no rows yet, if the images, the model and the program are the same.
"""

import contextlib
import glob
import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from components import artifact_files, in_progress, paths, stop_signals
from components.beam_io import first_answer
from components.code_version import project_version
from components.image_example_gen import files
from components.image_example_gen.files import FoundFile
from components.images.rules import ReadingRules, read_rules
from components.messages import InputError
from components.progress import watched
from components.registry.record import RECORD_FILE, VersionRecord
from components.stores import store_of
from components.whole_file import whole_file
from pipeline.batch import formats, listing
from pipeline.batch.formats import OutputError, Row
from pipeline.batch.listing import Position
from pipeline.batch.ordering import in_order
from pipeline.batch.work import JobError, Key, Work
from pipeline.console import without_messages_of_libraries
from pipeline.predict import batches, check_files
from pipeline.served_model import SharedModel, served_model

_LOGGER = logging.getLogger("outnumbered.predict")
_TEMPORARY = "outnumbered-predict-"
_SHARD_IMAGES = 256
# So that the work folder can be listed, and the shards' numbers are few.
_MAX_SHARDS = 10_000


@dataclass(frozen=True)
class Job:
    """What to score, and where to.

    Attributes:
      request: the images.
      model: a SavedModel, or a registry.
      output: path or URI of the file with the rows.
      beam_options: options of Beam, with `--runner`.
    """

    request: listing.Request
    model: str
    output: str
    beam_options: tuple[str, ...] = ("--runner=FnApiRunner",)


@dataclass
class Summary:
    """What a job gave.

    Attributes:
      output: where the rows are.
      rows: number of images.
      errors: images that can't be read.
      positives: images that the model calls positive.
      needs_review: images that a person should decide.
      resumed: rows of an earlier job that was interrupted.
      model_version: version of the model in its registry; None if it is not known.
    """

    output: str
    rows: int = 0
    errors: int = 0
    positives: int = 0
    needs_review: int = 0
    resumed: int = 0
    model_version: str | None = None

    def add(self, row: Row) -> None:
        """Counts a row."""
        self.rows += 1
        self.errors += row[formats.ERROR] is not None
        self.positives += row["is_positive"] is True
        self.needs_review += row["needs_review"] is True

    def as_json(self) -> str:
        """Returns the summary as one JSON object."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class _Model:
    folder: Path
    rules: ReadingRules
    digest: str
    version: str | None
    registry: str


@dataclass
class _Listed:
    """The sorted list of images on disk, and its digest."""

    file: Path
    count: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @property
    def shard_images(self) -> int:
        return max(_SHARD_IMAGES, math.ceil(self.count / _MAX_SHARDS))

    def shards(self) -> Iterator[list[FoundFile]]:
        with self.file.open(encoding="utf-8") as lines:
            images = (FoundFile(*json.loads(line)) for line in lines)
            yield from batches(images, self.shard_images)


def run(job: Job, note: Callable[[str], object]) -> Summary:
    """Runs a job; see the module's docstring.

    Args:
      job: what to score.
      note: receives messages for the user.

    Raises:
      ListingError, SourceError, OutputError, PathError, PredictError, RulesError or RegistryError:
        the images, the output or the model can't be used. TensorFlow is not loaded before these
        are checked.
      JobError: the job failed, such as for a store that can't be reached, or another one is
        writing the same output.
    """
    listing.check(job.request)
    check_output(job.output)
    check_apart(job.output, job.request)
    with _temporary_folder() as temporary:
        model = _model(job.model, temporary)
        passed_over: Counter[str] = Counter()
        work = Work(job.output)
        with _reported():
            own = (job.output, work.folder.path)
            images = _list(listing.each_image(job.request, passed_over, own), temporary)
        if left_out := files.passed_over_text(passed_over):
            note(left_out)
        with _reported(), work.folder.locked():
            _remove_hidden(job.output)
            done = _prepare(work, model, images, note)
            _score(job, work, model, images, done)
            summary = Summary(
                job.output,
                resumed=sum(_length(images, shard) for shard in done),
                model_version=model.version,
            )
            _join(work, images, summary, temporary)
            work.finish()
    return summary


def check_output(output: str) -> None:
    """Refuses an output that can't be written, before anything is done.

    Raises:
      OutputError: its suffix names no format, or it is a folder.
      PathError: its folder can't be written to.
    """
    formats.check_suffix(output)
    if store_of(output):
        try:
            error = first_answer(output)
        except OSError as failed:
            error = failed
        if error is not None:
            raise OutputError(f"--output can't be written: {error}. Received: {output!r}")
        return
    if os.path.isdir(output):
        raise OutputError(f"--output must be a file, and is a folder. Received: {output!r}")
    paths.check_can_be_folder("folder of --output", os.path.dirname(os.path.abspath(output)))


def check_apart(output: str, request: listing.Request) -> None:
    """Refuses an output that would replace what is to be read.

    Raises:
      OutputError: it is the manifest or an image.
    """
    for given in filter(None, (request.manifest, *request.paths)):
        if _real(given) == _real(output):
            raise OutputError(
                f"--output must be another file than what is read. Received: {output!r}"
            )


def _real(path: str) -> str:
    return path if store_of(path) else os.path.realpath(path)


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except (JobError, InputError):
        raise
    except Exception as error:  # any error of Beam, TensorFlow or a store
        stop_signals.raise_received()
        from pipeline.local import root_message

        raise JobError(root_message(error)) from error


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Makes a folder in TMPDIR, which is TMPDIR inside the block, also for Beam and TensorFlow.

    A killed job's folder is removed by the next job.
    """
    root, before, default = Path(tempfile.gettempdir()), os.environ.get("TMPDIR"), tempfile.tempdir
    in_progress.remove_abandoned(root.glob(f"{_TEMPORARY}*"), _TEMPORARY)
    folder = root / f"{_TEMPORARY}{in_progress.owned_name()}"
    folder.mkdir()
    os.environ["TMPDIR"], tempfile.tempdir = str(folder), str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = default
        if before is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = before
        shutil.rmtree(folder, ignore_errors=True)


def _remove_hidden(output: str) -> None:
    """Removes what a job that was killed while it joined the rows has left."""
    if not store_of(output):
        path = Path(output)
        in_progress.remove_abandoned(path.parent.glob(f".*@*-{glob.escape(path.name)}"))


def _model(model: str, temporary: Path) -> _Model:
    folder = served_model(model, temporary / "model")
    check_files(folder)
    digest = artifact_files.digest(str(folder))
    registry = model if store_of(model) else ""
    return _Model(folder, read_rules(folder), digest, _version(folder), registry)


def _version(folder: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError):
        record = VersionRecord.model_validate_json((folder / RECORD_FILE).read_bytes())
        return str(record.version)
    name = folder.resolve().name
    return name if name.isdecimal() else None


def _list(images: Iterable[tuple[Position, FoundFile]], temporary: Path) -> _Listed:
    found = _Listed(temporary / "images.jsonl")
    with found.file.open("w", encoding="utf-8") as file:
        for image in in_order(images, temporary / "sorting"):
            line = f"{json.dumps(image)}\n"
            file.write(line)
            found.digest.update(line.encode())
            found.count += 1
    return found


def _prepare(work: Work, model: _Model, images: _Listed, note: Callable[[str], object]) -> set[int]:
    """Returns the shards that are done; starts anew if they are of another job."""
    key = Key(
        model=model.digest,
        images=images.digest.hexdigest(),
        code=project_version(),
        count=images.count,
        shards=math.ceil(images.count / images.shard_images),
    )
    earlier = work.key()
    difference = key.difference(earlier) if earlier else ""
    if earlier is None or difference:
        if difference:
            note(f"an interrupted job can't be resumed, since {difference}; it starts anew")
        work.start(key, images.shards())
        return set()
    done = work.done()
    rows = sum(_length(images, shard) for shard in done)
    note(f"resumes an interrupted job: {rows:,} of {images.count:,} images are done")
    return done


def _length(images: _Listed, shard: int) -> int:
    return min(images.shard_images, images.count - shard * images.shard_images)


def _score(job: Job, work: Work, model: _Model, images: _Listed, done: set[int]) -> None:
    shards = range(math.ceil(images.count / images.shard_images))
    left = [shard for shard in shards if shard not in done]
    if not left:
        return
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    with without_messages_of_libraries():
        from pipeline.batch import scoring

        scoring.initialize()
    step = scoring.ScoreShard(
        model=SharedModel(str(model.folder.absolute()), model.registry),
        version=model.version,
        rules=model.rules,
        work=work,
    )
    with watched(
        lambda: _images_done(work, images, done),
        total=sum(_length(images, shard) for shard in left),
        logger=_LOGGER.name,
        with_rate=True,
    ):
        scoring.score(left, step, job.beam_options)


def _images_done(work: Work, images: _Listed, before: set[int]) -> int:
    """Returns the images done since the start; 0 if a store can't be listed at this moment."""
    with contextlib.suppress(OSError):
        return sum(_length(images, shard) for shard in work.done() - before)
    return 0


def _join(work: Work, images: _Listed, summary: Summary, temporary: Path) -> None:
    rows = _counted(_checked_rows(work, images), summary)
    if store := store_of(summary.output):
        joined = temporary / f"joined{os.path.splitext(summary.output)[1]}"
        formats.write(rows, joined)
        store.upload(joined, summary.output)
        return
    with whole_file(Path(summary.output)) as hidden:
        formats.write(rows, hidden)


def _checked_rows(work: Work, images: _Listed) -> Iterator[Row]:
    """Yields all rows, after checking that each shard has one for each of its images."""
    for shard, expected in enumerate(images.shards()):
        rows = _rows_or_none(work, shard)
        if [row.get(formats.PATH) for row in rows] != [image.path for image in expected]:
            work.repair(shard, expected)
            raise JobError(
                f"the rows of shard {shard} in {work.folder.path} were damaged, and are removed; "
                "run the same command again"
            )
        yield from rows


def _rows_or_none(work: Work, shard: int) -> list[dict[str, Any]]:
    try:
        return work.rows(shard)
    except ValueError:  # damaged
        return []


def _counted(rows: Iterable[Row], summary: Summary) -> Iterator[Row]:
    for row in rows:
        summary.add(row)
        yield row
