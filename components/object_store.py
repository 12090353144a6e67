"""`s3://`, `minio://` and `gs://` for TFX's fileio, through Beam's file systems.

TensorFlow's file systems, which fileio uses for all other schemes, don't support `s3://` in
current wheels. The store's address and credentials come from the environment: `AWS_ENDPOINT_URL`,
`AWS_ACCESS_KEY_ID` and so on, or Google's default credentials. `minio://` is Kubeflow's scheme for
the S3 store in its cluster.
"""

import contextlib
import io
import posixpath
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tfx.dsl.io import fileio, filesystem, filesystem_registry
from tfx.dsl.io.filesystem import PathType

from components.beam_io import beam_io, file_at, files_below, raise_failed, read_s3, store_errors

_MINIO, _S3 = "minio://", "s3://"
# Lower is preferred; TensorFlow's is 10.
_PRIORITY = 0


def register() -> None:
    """Makes fileio use Beam for the three schemes. Idempotent."""
    filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(BeamFilesystem, priority=_PRIORITY)


class BeamFilesystem(filesystem.Filesystem):
    """An object store, whose folders exist if and only if they contain a file."""

    SUPPORTED_SCHEMES = ["s3://", "minio://", "gs://"]  # noqa: RUF012 - required by TFX

    @staticmethod
    def open(name: PathType, mode: str = "r") -> Any:
        """Returns a file object; a written file appears atomically when it is closed."""
        path = _path(name)
        if "w" not in mode and path.startswith(_S3):
            with _as_not_found(path):
                content = io.BytesIO(read_s3(path))
            return content if "b" in mode else _as_text(content)
        systems = beam_io().filesystems.FileSystems
        # Beam would otherwise decompress files whose name ends in .gz.
        kind = beam_io().filesystem.CompressionTypes.UNCOMPRESSED
        with _as_not_found(path):
            open_file = systems.create if "w" in mode else systems.open
            file = open_file(path, compression_type=kind)
        return file if "b" in mode else _as_text(file)

    @staticmethod
    def copy(src: PathType, dst: PathType, overwrite: bool = False) -> None:
        """Copies one file."""
        _refuse_overwriting(dst, overwrite)
        with _as_not_found(_path(src)):
            raise_failed(beam_io().filesystems.FileSystems.copy([_path(src)], [_path(dst)]))

    @staticmethod
    def exists(path: PathType) -> bool:
        """Returns whether the path is a file, or a folder with a file."""
        return bool(beam_io().filesystems.FileSystems.exists(_path(path))) or bool(_below(path))

    @staticmethod
    def glob(pattern: PathType) -> list[PathType]:
        """Returns the files that match."""
        (found,) = beam_io().filesystems.FileSystems.match([_path(pattern)])
        return [_with_scheme_of(_text(pattern), file.path) for file in found.metadata_list]

    @staticmethod
    def isdir(path: PathType) -> bool:
        """Returns whether the path is a folder with a file."""
        return bool(_below(path))

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
        with _as_not_found(_path(path)):
            beam_io().filesystems.FileSystems.delete([_path(path)])

    @staticmethod
    def rename(src: PathType, dst: PathType, overwrite: bool = False) -> None:
        """Copies one file atomically and removes the original."""
        _refuse_overwriting(dst, overwrite)
        with _as_not_found(_path(src)):
            beam_io().filesystems.FileSystems.rename([_path(src)], [_path(dst)])

    @staticmethod
    def rmtree(path: PathType) -> None:
        """Removes all files in a folder, recursively."""
        if not (found := _below(path)):
            raise filesystem.NotFoundError(path)
        with _as_not_found(_path(path)):
            beam_io().filesystems.FileSystems.delete([_path(name) for name in found])

    @staticmethod
    def stat(path: PathType) -> Any:
        """Returns Beam's metadata of a file, which has `size_in_bytes`."""
        if (found := file_at(_path(path))) is None:
            raise filesystem.NotFoundError(path)
        return found

    @staticmethod
    def walk(
        top: PathType, topdown: bool = True, onerror: Callable[..., None] | None = None
    ) -> Iterable[tuple[PathType, list[PathType], list[PathType]]]:
        """Yields folders, their subfolders and their files, like `os.walk`."""
        root = _text(top)
        paths = {name: posixpath.join(root, _text(name)) for name in BeamFilesystem.listdir(root)}
        folders = [name for name, path in paths.items() if BeamFilesystem.isdir(path)]
        files = [name for name in paths if name not in folders]
        if topdown:
            yield root, folders, files
        for folder in folders:
            yield from BeamFilesystem.walk(paths[folder], topdown, onerror)
        if not topdown:
            yield root, folders, files


def _below(path: PathType) -> list[str]:
    root = _folder(path)
    return [_with_scheme_of(root, metadata.path) for metadata in files_below(_path(root))]


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


def _as_text(file: Any) -> Any:
    return io.TextIOWrapper(file, encoding="utf-8")


@contextlib.contextmanager
def _as_not_found(path: str) -> Iterator[None]:
    try:
        with store_errors(path):
            yield
    except FileNotFoundError as error:
        raise filesystem.NotFoundError(str(error)) from error
