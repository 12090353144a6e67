"""What all executors do with their artifacts: check the inputs' files, and list the outputs'."""

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tfx.dsl.io import fileio
from tfx.types import Artifact, standard_artifacts

from components import artifact_files

Artifacts = dict[str, list[Artifact]]
Executor = TypeVar("Executor")


def checked(
    do: Callable[[Executor, Artifacts, Artifacts, dict[str, Any]], None],
) -> Callable[[Executor, Artifacts, Artifacts, dict[str, Any]], None]:
    """Decorates an executor's `Do`.

    Before it, the files of every input are checked, except those of Examples, which their readers
    check split by split. After it, the list of each output's files is written, unless `Do` wrote
    one. See `components.artifact_files`.

    Args:
      do: the method.

    Returns:
      The method, which raises DamagedArtifactError if a file of an input is missing or has changed.
    """

    @functools.wraps(do)
    def checked_do(
        self: Executor,
        input_dict: Artifacts,
        output_dict: Artifacts,
        exec_properties: dict[str, Any],
    ) -> None:
        for artifact in _each(input_dict):
            if not isinstance(artifact, standard_artifacts.Examples):
                artifact_files.check(artifact_files.listed_folder(artifact.uri))
        for artifact in _each(output_dict):
            _remove_list(artifact.uri)
        do(self, input_dict, output_dict, exec_properties)
        for artifact in _each(output_dict):
            if not artifact_files.has_list(artifact_files.listed_folder(artifact.uri)):
                artifact_files.list_all(artifact.uri)

    return checked_do


def _each(artifacts: Artifacts) -> Iterator[Artifact]:
    return (artifact for found in artifacts.values() for artifact in found)


def _remove_list(uri: str) -> None:
    """Removes the list of an earlier attempt, which would be taken for that of this one."""
    folder = artifact_files.listed_folder(uri)
    if artifact_files.has_list(folder):
        fileio.remove(os.path.join(folder, artifact_files.LIST_FILE))
