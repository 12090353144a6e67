"""`s3://`, `minio://` and `gs://` for TFX's fileio.

TensorFlow's file systems, which fileio uses for all other schemes, don't support `s3://` in
current wheels. `minio://` is Kubeflow's scheme for the S3 store in its cluster.
"""

import contextlib
import io
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tfx.dsl.io import fileio, filesystem, filesystem_registry
from tfx.dsl.io.filesystem import PathType

from components.beam_io import beam_io, first_answer
from components.stores import Store, store_of

_MINIO, _S3 = "minio://", "s3://"
# Lower is preferred; TensorFlow's is 10.
_PRIORITY = 0


def register() -> None:
    """Makes fileio use this module for the three schemes. Idempotent."""
    filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(
        ObjectStoreFilesystem, priority=_PRIORITY
    )


def upload(source: str, target: str) -> None:
    """Writes a local file to one of the three schemes, without reading it into memory."""
    _store(_path(target)).upload(Path(source), _path(target))


def download(source: str, target: str) -> None:
    """Writes a file of one of the three schemes to a local path, without reading it into memory.

    Raises:
      FileNotFoundError: it does not exist.
    """
    _store(_path(source)).download(_path(source), Path(target))


class ObjectStoreFilesystem(filesystem.Filesystem):
    """An object store, whose folders exist if and only if they contain a file."""

    SUPPORTED_SCHEMES = ["s3://", "minio://", "gs://"]  # noqa: RUF012 - required by TFX

    @staticmethod
    def open(name: PathType, mode: str = "r") -> Any:
        """Returns a file object.

        A written file appears when it is closed: all of it, and nothing if its `with` block fails.
        """
        path = _path(name)
        if "w" in mode:
            return _Written(path) if "b" in mode else _WrittenText(_Written(path), encoding="utf-8")
        with _as_not_found():
            content = io.BytesIO(_store(path).read(path))
        return content if "b" in mode else io.TextIOWrapper(content, encoding="utf-8")

    @staticmethod
    def copy(src: PathType, dst: PathType, overwrite: bool = False) -> None:
        """Copies one file."""
        _refuse_overwriting(dst, overwrite)
        with _as_not_found():
            _store(_path(src)).copy(_path(src), _path(dst))

    @staticmethod
    def exists(path: PathType) -> bool:
        """Returns whether the path is a file, or a folder with a file."""
        return _store(_path(path)).find(_path(path)) is not None or _has_file(path)

    @staticmethod
    def glob(pattern: PathType) -> list[PathType]:
        """Returns the files that match."""
        path = _path(pattern)
        matches = re.compile(beam_io().filesystem.FileSystem.translate_pattern(path)).fullmatch
        found = _store(path).below(re.split(r"[\[*?]", path, maxsplit=1)[0])
        return [
            _with_scheme_of(_text(pattern), stored.path) for stored in found if matches(stored.path)
        ]

    @staticmethod
    def isdir(path: PathType) -> bool:
        """Returns whether the path is a folder with a file."""
        return _has_file(path)

    @staticmethod
    def listdir(path: PathType) -> list[PathType]:
        """Returns the names of the direct children of a folder."""
        root = _folder(path)
        names = {found.removeprefix(root).partition("/")[0] for found in _below(path)}
        if not names:
            raise filesystem.NotFoundError(path)
        return [*sorted(names)]

    @staticmethod
    def makedirs(path: PathType) -> None:
        """Does nothing: a folder is created with its first file."""

    @staticmethod
    def mkdir(path: PathType) -> None:
        """Does nothing: a folder is created with its first file."""

    @staticmethod
    def remove(path: PathType) -> None:
        """Removes one file."""
        _store(_path(path)).delete([_path(path)])

    @staticmethod
    def rename(src: PathType, dst: PathType, overwrite: bool = False) -> None:
        """Copies one file atomically and removes the original."""
        ObjectStoreFilesystem.copy(src, dst, overwrite)
        ObjectStoreFilesystem.remove(src)

    @staticmethod
    def rmtree(path: PathType) -> None:
        """Removes all files in a folder, recursively."""
        if not (found := _below(path)):
            raise filesystem.NotFoundError(path)
        _store(_path(path)).delete([_path(name) for name in found])

    @staticmethod
    def stat(path: PathType) -> Any:
        """Returns the metadata of a file, which has `size_in_bytes`."""
        if (found := _store(_path(path)).find(_path(path))) is None:
            raise filesystem.NotFoundError(path)
        return found

    @staticmethod
    def walk(
        top: PathType, topdown: bool = True, onerror: Callable[..., None] | None = None
    ) -> Iterable[tuple[PathType, list[PathType], list[PathType]]]:
        """Yields folders, their subfolders and their files, like `os.walk`."""
        root = _text(top)
        paths = {
            name: posixpath.join(root, _text(name)) for name in ObjectStoreFilesystem.listdir(root)
        }
        folders = [name for name, path in paths.items() if ObjectStoreFilesystem.isdir(path)]
        files = [name for name in paths if name not in folders]
        if topdown:
            yield root, folders, files
        for folder in folders:
            yield from ObjectStoreFilesystem.walk(paths[folder], topdown, onerror)
        if not topdown:
            yield root, folders, files


class _Written(io.BytesIO):
    """A file that becomes an object when it is closed, unless it is abandoned before."""

    def __init__(self, path: str):
        super().__init__()
        self._path = path
        self.abandoned = False

    def close(self) -> None:
        if self.closed:
            return
        content = self.getvalue()
        super().close()
        if not self.abandoned:
            _store(self._path).write(self._path, content)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.abandoned = kind is not None
        self.close()


class _WrittenText(io.TextIOWrapper):
    """A text file on top of `_Written`."""

    buffer: _Written

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.buffer.abandoned = kind is not None
        self.close()


def _store(path: str) -> Store:
    """Returns the store of a path, once it has answered for the first time."""
    first_answer(path)
    store = store_of(path)
    if store is None:
        raise ValueError(f"the path must begin with s3://, minio:// or gs://. Received: {path!r}")
    return store


def _has_file(folder: PathType) -> bool:
    root = _path(_folder(folder))
    return bool(_store(root).below(root, limit=1))


def _below(path: PathType) -> list[str]:
    root = _folder(path)
    found = _store(_path(root)).below(_path(root))
    return [_with_scheme_of(root, stored.path) for stored in found]


def _text(path: PathType) -> str:
    return path.decode() if isinstance(path, bytes) else path


def _folder(path: PathType) -> str:
    return _text(path).rstrip("/") + "/"


def _path(path: PathType) -> str:
    text = _text(path)
    return _S3 + text.removeprefix(_MINIO) if text.startswith(_MINIO) else text


def _with_scheme_of(requested: str, found: str) -> str:
    return _MINIO + found.removeprefix(_S3) if requested.startswith(_MINIO) else found


def _refuse_overwriting(path: PathType, overwrite: bool) -> None:
    if not overwrite and fileio.exists(path):
        raise OSError(f"{_text(path)} already exists")


@contextlib.contextmanager
def _as_not_found() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise filesystem.NotFoundError(str(error)) from error
