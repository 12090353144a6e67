"""Paths given by users: `~` is expanded, and unsupported schemes are refused.

Paths are used literally. TFX can't do that: it appends `/*` to the folder of a split and reads
the result as a pattern, so folders in which TFX works are refused here if their names contain
pattern characters.
"""

import os
import re
import tempfile
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator

from components.messages import InputError

BUCKET_SCHEMES = ("gs", "s3")
"""Schemes from which images and manifests may be read, besides local folders."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_OUTPUT_ADVICE = (
    "give a folder of a disk; data.source, data.manifest, sampler.ledger and pusher.registry may "
    "be in a bucket"
)
_PATTERN_CHARACTERS = re.compile(r"[\[\]*?]")


class PathError(InputError):
    """A path that can't be used; the message gives the option, the value and what to do."""


def local(path: str) -> str:
    """Returns a path on this machine, expanded.

    Args:
      path: may start with `~`, `~user` or `file://`.

    Raises:
      ValueError: it is empty, of a user who does not exist, or has another scheme.
    """
    return _without_scheme(path, "mount the bucket and give the folder it is mounted at")


def weights(path: str) -> str:
    """Returns a file of weights on this machine, or a name such as `imagenet`; see `local`."""
    return _without_scheme(path, "copy the file to this machine and give its path")


def source(path: str) -> str:
    """Returns a path on this machine, expanded, or in a bucket.

    Args:
      path: may start with `~`, `~user`, `file://`, `gs://` or `s3://`.

    Raises:
      ValueError: it is empty, of a user who does not exist, or has another scheme.
    """
    path = _expanded(path)
    found = _SCHEME.match(path)
    if found is None:
        return path
    scheme, rest = found.group(1).lower(), path[found.end() :]
    if scheme not in BUCKET_SCHEMES:
        hint = "; use s3:// and set AWS_ENDPOINT_URL" if scheme == "minio" else ""
        known = " or ".join(f"{name}://" for name in BUCKET_SCHEMES)
        raise ValueError(
            f"must be a path on this machine or start with {known}: {scheme}:// is not "
            f"supported here{hint}"
        )
    if not rest.strip("/"):
        raise ValueError(f"must contain the name of a bucket, such as {scheme}://bucket/folder")
    return f"{scheme}://{rest}"


def literal(path: str) -> str:
    """Returns the path unchanged if TFX reads it literally.

    Raises:
      ValueError: TFX would read it as a pattern, which may match other folders.
    """
    if characters := sorted(set(_PATTERN_CHARACTERS.findall(path))):
        raise ValueError(
            f"must not contain {' or '.join(characters)}: TFX reads such a path as a pattern, "
            "which may match other folders; use a folder with another name"
        )
    return path


LocalPath = Annotated[str, AfterValidator(local)]
SourcePath = Annotated[str, AfterValidator(source)]
WeightsPath = Annotated[str, AfterValidator(weights)]


def given(option: str, path: str | os.PathLike[str]) -> Path:
    """Returns the local path given by an option or argument.

    Args:
      option: name of the option for the message, such as `--model`.
      path: the user's value.

    Raises:
      PathError: the path can't be used.
    """
    try:
        return Path(local(str(path)))
    except ValueError as error:
        raise PathError(f"{option} {error}. Received: {str(path)!r}") from error


def given_source(option: str, path: str) -> str:
    """Returns the local path or the URI in a bucket given by an option; see `source`.

    Raises:
      PathError: it can't be used.
    """
    try:
        return source(path)
    except ValueError as error:
        raise PathError(f"{option} {error}. Received: {path!r}") from error


def output_folder(path: str | os.PathLike[str]) -> Path:
    """Returns the folder given by `--output` as an absolute path.

    Raises:
      PathError: the path can't be used, or TFX would read it as a pattern.
    """
    try:
        # Mounted buckets lack the locks and renames on which the metadata and the outputs depend.
        folder = Path(_without_scheme(str(path), _OUTPUT_ADVICE)).absolute()
    except ValueError as error:
        raise PathError(f"--output {error}. Received: {str(path)!r}") from error
    try:
        literal(str(folder))
    except ValueError as error:
        raise PathError(f"--output {error}. Received: {str(folder)!r}") from error
    return folder


def check_can_be_folder(key: str, path: str) -> None:
    """Checks that a folder exists or can be created, and can be written to.

    Raises:
      PathError: the path or one of its parents is not a folder, or can't be written to.
    """
    folder = Path(path).absolute()
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise PathError(f"{key} must be a folder: {folder} is not one. Received: {path!r}")
    try:
        # Permissions don't tell: root is refused by file servers and by the kernel's own folders.
        with tempfile.TemporaryDirectory(prefix=".outnumbered-", dir=folder):
            pass
    except OSError as error:
        raise PathError(
            f"{key} must be a writable folder: {folder} is not writable ({error.strerror}). Make "
            f"it writable or use another. Received: {path!r}"
        ) from error


def _without_scheme(path: str, advice: str) -> str:
    path = _expanded(path)
    if found := _SCHEME.match(path):
        raise ValueError(
            f"must be a path on this machine: {found.group(1)}:// is not supported here; {advice}"
        )
    return path


def _expanded(path: str) -> str:
    if not path.strip() or "\0" in path:
        raise ValueError("must be a path, not empty and without a NUL character")
    if path.lower().startswith("file://"):
        return _of_file_uri(path)
    if not path.startswith("~"):
        return path
    expanded = os.path.expanduser(path)
    if expanded == path:
        user = path.partition("/")[0]
        raise ValueError(f"must be a path that exists: the user {user!r} has no home folder here")
    return expanded


def _of_file_uri(uri: str) -> str:
    # Not parsed by urlsplit, since `#` and `?` may be part of a name.
    host, slash, rest = uri[len("file://") :].partition("/")
    if host.lower() not in ("", "localhost") or not slash:
        raise ValueError(
            "must be a path on this machine: file:// must be followed by an absolute path, such as "
            "file:///photos"
        )
    return unquote(f"/{rest}")
