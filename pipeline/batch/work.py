"""The work folder of a job, beside its output: the list of images and the rows, in shards.

Every file appears whole, by a rename or, in a bucket, by one write. Imports neither TensorFlow nor
TFX, and can be pickled for Beam's workers.
"""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from components.image_example_gen.files import FoundFile
from components.in_progress import remove_abandoned
from components.stores import Store, StoreError, store_of
from components.whole_file import whole_file

_KEY_FILE = "job.json"
_LOCK_FILE = "lock"
_IMAGES, _ROWS = "images", "rows"
_SHARD_FILE = re.compile(rf"({_IMAGES}|{_ROWS})-(\d{{6}})\.jsonl")
# As `whole_file` names a file until it is complete. One of a killed worker stays.
_HIDDEN_FILE = re.compile(r"\.[^@]+@\d+-[0-9a-f]{32}-(.+)")


class JobError(RuntimeError):
    """A job that failed; the message says why. What is done is kept for the next try."""


@dataclass(frozen=True)
class Key:
    """What the rows in a work folder depend on.

    Attributes:
      model: digest of the model's files.
      images: digest of the list of images, with their sizes and modification times.
      code: digest of this project's code and of the main libraries' versions.
      count: number of images.
      shards: number of shards.
    """

    model: str
    images: str
    code: str
    count: int
    shards: int

    def difference(self, other: "Key") -> str:
        """Returns in words what another key has different; empty if nothing."""
        if self.images != other.images:
            return "the images have changed"
        if self.model != other.model:
            return "the model is another one"
        return "the program is of another version" if self != other else ""


class Folder(Protocol):
    """The files of a work folder."""

    path: str

    def read(self, name: str) -> bytes:
        """Returns the content of a file, or raises `FileNotFoundError`."""

    def write(self, name: str, content: bytes) -> None:
        """Writes a file: all of it or nothing."""

    def names(self) -> set[str]:
        """Returns the names of all files; none if there is no folder."""

    def remove(self, names: Iterable[str]) -> None:
        """Removes files."""

    def remove_folder(self) -> None:
        """Removes the folder, if it has no files other than the lock."""

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Keeps other jobs out, or raises `JobError`; a bucket has no locks."""


class _Local:
    def __init__(self, path: str):
        self.path = path

    def read(self, name: str) -> bytes:
        return Path(self.path, name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        with whole_file(Path(self.path, name)) as hidden:
            hidden.write_bytes(content)

    def names(self) -> set[str]:
        folder = Path(self.path)
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            Path(self.path, name).unlink(missing_ok=True)

    def remove_folder(self) -> None:
        Path(self.path, _LOCK_FILE).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody else's files are in it
            Path(self.path).rmdir()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        Path(self.path).mkdir(parents=True, exist_ok=True)
        with Path(self.path, _LOCK_FILE).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise JobError(
                    f"another job is writing into {self.path}; wait for it, or give another "
                    "--output"
                ) from error
            remove_abandoned(Path(self.path).glob(".*@*"))
            yield


class _Bucket:
    def __init__(self, path: str):
        self.path = path

    def _store(self) -> Store:
        if (store := store_of(self.path)) is None:
            raise StoreError(f"{self.path} is in no store; use s3:// or gs://")
        return store

    def read(self, name: str) -> bytes:
        return self._store().read(f"{self.path}/{name}")

    def write(self, name: str, content: bytes) -> None:
        self._store().write(f"{self.path}/{name}", content)

    def names(self) -> set[str]:
        prefix = f"{self.path}/"
        return {each.path.removeprefix(prefix) for each in self._store().each_below(prefix)}

    def remove(self, names: Iterable[str]) -> None:
        self._store().delete(f"{self.path}/{name}" for name in names)

    def remove_folder(self) -> None:
        """Does nothing: a bucket has no folders."""

    def locked(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


class Work:
    """The state of a job."""

    def __init__(self, output: str):
        """Uses the folder `OUTPUT.parts`, which need not exist."""
        path = f"{output}.parts"
        # Workers may be in another folder.
        self.folder: Folder = _Bucket(path) if store_of(output) else _Local(os.path.abspath(path))

    def key(self) -> Key | None:
        """Returns what the rows in the folder depend on; None if there are none that count."""
        try:
            return Key(**json.loads(self.folder.read(_KEY_FILE)))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def start(self, key: Key, listing: Iterable[Sequence[FoundFile]]) -> None:
        """Starts anew: removes another job's files, and writes the list of images, then the key.

        Args:
          key: of the job.
          listing: the images of each shard.

        Raises:
          JobError: the folder has files that are not of a job.
        """
        others = {name for name in self.folder.names() if not _is_of_a_job(name)}
        if foreign := sorted(others - {_LOCK_FILE}):
            raise JobError(
                f"{self.folder.path} has files that are not of a job; move it, or give another "
                f"--output. Received: {', '.join(foreign[:3])}"
            )
        self._clear()
        for shard, images in enumerate(listing):
            self.folder.write(_name(_IMAGES, shard), _as_lines(list(image) for image in images))
        self.folder.write(_KEY_FILE, json.dumps(asdict(key)).encode())

    def finish(self) -> None:
        """Removes the folder, but never somebody else's files."""
        self._clear()
        self.folder.remove_folder()

    def _clear(self) -> None:
        # First the key: without it nothing else counts, if this process is killed in between.
        self._forget()
        self.folder.remove(sorted(filter(_is_of_a_job, self.folder.names())))

    def _forget(self) -> None:
        if _KEY_FILE in self.folder.names():
            self.folder.remove([_KEY_FILE])

    def images(self, shard: int) -> list[FoundFile]:
        """Returns the images of a shard.

        Raises:
          JobError: their list is damaged; the next job starts anew.
        """
        try:
            return [FoundFile(*line) for line in _lines(self.folder.read(_name(_IMAGES, shard)))]
        except (FileNotFoundError, ValueError, TypeError) as error:
            self._forget()
            raise JobError(
                f"the list of images of shard {shard} in {self.folder.path} was damaged; run the "
                "same command again, which starts anew"
            ) from error

    def write_rows(self, shard: int, rows: Iterable[dict[str, Any]]) -> None:
        """Writes the rows of a shard."""
        self.folder.write(_name(_ROWS, shard), _as_lines(rows))

    def rows(self, shard: int) -> list[dict[str, Any]]:
        """Returns the rows of a shard."""
        return list(_lines(self.folder.read(_name(_ROWS, shard))))

    def repair(self, shard: int, images: Iterable[FoundFile]) -> None:
        """Removes the rows of a shard, and writes its list of images again.

        Args:
          shard: its number.
          images: its images.
        """
        self.folder.write(_name(_IMAGES, shard), _as_lines(list(image) for image in images))
        self.folder.remove([_name(_ROWS, shard)])

    def done(self) -> set[int]:
        """Returns the shards that have rows."""
        found = map(_SHARD_FILE.fullmatch, self.folder.names())
        return {int(match[2]) for match in found if match and match[1] == _ROWS}


def _is_of_a_job(name: str) -> bool:
    if hidden := _HIDDEN_FILE.fullmatch(name):
        name = hidden[1]
    return name == _KEY_FILE or _SHARD_FILE.fullmatch(name) is not None


def _name(kind: str, shard: int) -> str:
    return f"{kind}-{shard:06d}.jsonl"


def _as_lines(items: Iterable[Any]) -> bytes:
    return "".join(f"{json.dumps(item)}\n" for item in items).encode()


def _lines(content: bytes) -> Iterator[Any]:
    return map(json.loads, content.splitlines())
