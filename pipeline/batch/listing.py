"""Lists the images to be scored, one at a time: folders, files, patterns, manifests, buckets.

Imports neither TensorFlow nor TFX.
"""

import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from components.image_example_gen import files, manifest
from components.image_example_gen.files import FoundFile
from components.image_example_gen.sources import SourceError, possible_paths, scheme_problem
from components.messages import InputError
from pipeline.predict import IMAGE_SUFFIXES, NOT_IMAGES, is_meant_as_image

_PATTERN = re.compile(r"[*?\[]")
_TOKENS = re.compile(r"(\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\])")


class ListingError(InputError):
    """Images that can't be listed; the message says what to give instead."""


class Position(NamedTuple):
    """Where an image stands in the listing; positions can be compared.

    Attributes:
      source: index of the path by which it was found.
      within: row of the manifest, or the parts of the path below a folder.
    """

    source: int
    within: tuple[int, ...] | tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """What to score.

    Attributes:
      paths: images, folders and patterns, on this machine or in a bucket; with a manifest at most
        one, the folder that its uris are relative to.
      manifest: CSV or JSON lines with a column `uri`.
    """

    paths: tuple[str, ...]
    manifest: str | None = None


def identity(path: str) -> str:
    """Returns a text that is the same however a path is written, as `a.jpg` or `./a.jpg`."""
    return path if files.is_remote(path) else os.path.abspath(path)


def each_image(
    request: Request, passed_over: Counter[str], own: Sequence[str] = ()
) -> Iterator[tuple[Position, FoundFile]]:
    """Yields the images in no particular order; one that is found twice is yielded twice.

    In a folder, an image is recognized by its suffix or its first bytes; in a bucket, where each
    look costs a request, by its suffix, or if its name has none. A file that is given, that
    matches a pattern, or that is in a manifest always counts as an image.

    Args:
      request: what to score.
      passed_over: filled with the number of files and folders left out, by kind.
      own: files and folders of the job itself, which may lie in a folder of images.

    Raises:
      ListingError: a path does not exist, or contains no image.
      SourceError: the manifest can't be used.
    """
    if request.manifest:
        yield from _in_manifest(request)
        return
    for source, path in enumerate(request.paths):
        count = 0
        try:
            for within, found in _at(path, passed_over):
                if not _is_at(found.path, own):
                    count += 1
                    yield Position(source, within), found
        except OSError as error:
            raise ListingError(f"cannot list the images in {path}: {error}") from error
        if not count:
            raise ListingError(_none_found(path, passed_over))


def _is_at(path: str, places: Sequence[str]) -> bool:
    """Returns whether a path is one of the places, or below it."""
    found = identity(path)
    return any(found == place or found.startswith(f"{place}/") for place in map(identity, places))


def _none_found(path: str, passed_over: Counter[str]) -> str:
    note = f" ({files.passed_over_text(passed_over)})" if passed_over else ""
    return (
        f"no images found{note}; give an image, a folder of images, or a pattern such as "
        f"'photos/**/*.jpg'. Received: {path}"
    )


def _in_manifest(request: Request) -> Iterator[tuple[Position, FoundFile]]:
    path = request.manifest or ""
    folder = request.paths[0] if request.paths else posixpath.dirname(path)
    row, readable = 0, {""}
    for row, uri in manifest.read_uris(path):
        if (scheme := files.scheme(files.without_file_scheme(uri))) not in readable:
            if problem := scheme_problem(uri, folder or "a folder"):
                raise SourceError(f"manifest {path}, line {row}: {problem}. Received: {uri!r}")
            readable.add(scheme)
        yield Position(0, (row,)), _named(uri, folder)
    if not row:
        raise ListingError(f"manifest {path} has no rows; write one line per image")


def _named(uri: str, folder: str) -> FoundFile:
    """Returns a file that a manifest names; in a bucket it is looked up when it is read."""
    first, *others = possible_paths(folder, uri)
    if not files.is_remote(first):
        for path in (first, *others):
            if found := files.find(uri, path):
                return found
    return FoundFile(uri, first, -1, 0)


def _at(path: str, passed_over: Counter[str]) -> Iterator[tuple[tuple[str, ...], FoundFile]]:
    if (found := files.find(path, path)) is not None:
        yield (), found
    elif _PATTERN.search(path) and not _is_folder(path):
        yield from _matching(path, passed_over)
    else:
        yield from _below(path, passed_over)


def _is_folder(path: str) -> bool:
    return not files.is_remote(path) and os.path.isdir(path)


def _below(folder: str, passed_over: Counter[str]) -> Iterator[tuple[tuple[str, ...], FoundFile]]:
    if not files.is_remote(folder) and not os.path.isdir(folder):
        raise ListingError(
            f"PATH does not exist; give an image, or a folder of images. Received: {folder}"
        )
    for found in files.walk(folder, passed_over):
        if _is_image(found):
            yield tuple(found.relative.split("/")), found
        else:
            passed_over[NOT_IMAGES] += 1


def _is_image(found: FoundFile) -> bool:
    if files.is_remote(found.path):
        suffix = os.path.splitext(found.relative)[1].lower()
        return not suffix or suffix in IMAGE_SUFFIXES
    return is_meant_as_image(Path(found.path))


def _matching(
    pattern: str, passed_over: Counter[str]
) -> Iterator[tuple[tuple[str, ...], FoundFile]]:
    first = _PATTERN.search(pattern)
    folder, slash, _ = pattern[: first.start() if first else None].rpartition("/")
    folder = folder + slash if folder in ("", "s3:/", "gs:/") else folder
    below = pattern[len(folder) :].lstrip("/")
    if not files.is_remote(folder) and not os.path.isdir(folder or "."):
        raise ListingError(f"{folder} does not exist. Received: {pattern}")
    matches = as_expression(below).fullmatch
    for found in files.walk(folder or ".", passed_over):
        if matches(found.relative):
            path = found.path if folder else found.relative
            yield tuple(found.relative.split("/")), found._replace(path=path)


def as_expression(pattern: str) -> re.Pattern[str]:
    """Returns the regular expression of a pattern of paths.

    Args:
      pattern: `*` and `?` stand for any characters of one name, `[ab]` for one of these, and `**`
        for any folders.
    """
    return re.compile("".join(map(_part, _TOKENS.split(pattern))), re.DOTALL)


def _part(token: str) -> str:
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    if token in wild:
        return wild[token]
    if token.startswith("[") and token.endswith("]") and len(token) > 2:
        negated = token[1] == "!"
        inside = token[2 if negated else 1 : -1].replace("\\", r"\\").replace("[", r"\[")
        return f"[{'^' if negated else ''}{inside.replace('^', chr(92) + '^')}]"
    return re.escape(token)


def check(request: Request) -> None:
    """Refuses a request that names too much or too little.

    Raises:
      ListingError: neither images nor a manifest are given, or more than one folder with it.
    """
    if not request.paths and not request.manifest:
        raise ListingError("PATH or --manifest is required")
    if request.manifest and len(request.paths) > 1:
        raise ListingError(
            "with --manifest, PATH must be the one folder that its uris are relative to. "
            f"Received: {_listed(request.paths)}"
        )


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(paths[:3]) + (" …" if len(paths) > 3 else "")
