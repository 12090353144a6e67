"""Paths as users write them: `~` is expanded, and a scheme is understood or refused by name.

Where a path is used, it is used literally. TFX can't do that: it adds `/*` to the folder of a
split and reads the whole as a pattern, so folders in which it works are refused here when their
names hold signs of a pattern.
"""

import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator

BUCKET_SCHEMES = ("gs", "s3")
"""What images and manifests may be read from, besides this machine's folders."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_PATTERN_SIGNS = re.compile(r"[\[\]*?]")


class PathError(ValueError):
    """A path that can't be used; the message names the option, the value and what to do."""


def local(path: str) -> str:
    """A path on this machine.

    Args:
      path: may begin with `~`, `~user` or `file://`.

    Raises:
      ValueError: it is empty, of a user who does not exist, or has another scheme.
    """
    return _without_scheme(path, "mount the bucket and give the folder it is mounted at")


def weights(path: str) -> str:
    """A file of weights on this machine, or a name such as `imagenet`; raises as `local`."""
    return _without_scheme(path, "copy the file to this machine and give its path")


def source(path: str) -> str:
    """A path on this machine or in a bucket.

    Args:
      path: may begin with `~`, `~user`, `file://`, `gs://` or `s3://`.

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
            f"must be a path on this machine or begin with {known}: {scheme}:// is not "
            f"supported here{hint}"
        )
    if not rest.strip("/"):
        raise ValueError(f"must name a bucket, such as {scheme}://bucket/photos")
    return f"{scheme}://{rest}"


def literal(path: str) -> str:
    """A path in which TFX can work.

    Raises:
      ValueError: it would be read as a pattern, which may match other folders.
    """
    if signs := sorted(set(_PATTERN_SIGNS.findall(path))):
        raise ValueError(
            f"must not contain {' or '.join(signs)}: TFX reads such a path as a pattern, which "
            "may match other folders; give a folder of another name"
        )
    return path


LocalPath = Annotated[str, AfterValidator(local)]
SourcePath = Annotated[str, AfterValidator(source)]
WeightsPath = Annotated[str, AfterValidator(weights)]


def given(option: str, path: str | os.PathLike[str]) -> Path:
    """The path on this machine that an option or argument gives.

    Args:
      option: what the message calls it, such as `--model`.
      path: as the user wrote it.

    Raises:
      PathError: it can't be used.
    """
    try:
        return Path(local(str(path)))
    except ValueError as error:
        raise PathError(f"{option} {error}. Received: {str(path)!r}") from error


def output_folder(path: str | os.PathLike[str]) -> Path:
    """The folder that `--output` gives, absolute.

    Raises:
      PathError: it can't be used, or TFX would read it as a pattern.
    """
    folder = given("--output", path).absolute()
    try:
        literal(str(folder))
    except ValueError as error:
        raise PathError(f"--output {error}. Received: {str(folder)!r}") from error
    return folder


def check_can_be_folder(key: str, path: str) -> None:
    """Checks that a folder is there, or can be made, and can be written to.

    Raises:
      PathError: something else is there, or its place can't be written to.
    """
    folder = Path(path).absolute()
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise PathError(f"{key} must be a folder: {folder} is not one. Received: {path!r}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PathError(
            f"{key} must be a folder that can be written to: {folder} can't. Make it writable or "
            f"give another. Received: {path!r}"
        )


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
    # Not by urlsplit: `#` and `?` may be signs of a name.
    host, slash, rest = uri[len("file://") :].partition("/")
    if host.lower() not in ("", "localhost") or not slash:
        raise ValueError(
            "must name a file on this machine: file:// is followed by a path from the root, "
            "such as file:///photos"
        )
    return unquote(f"/{rest}")
