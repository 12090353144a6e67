"""What each step of a pipeline may access: its volumes, its secrets and its user.

They are derived from the step's own parameters, so that a step gets no more than it uses. For
example, the step that decodes untrusted images mounts the registry only if the images are there,
and gets no secret except the object store's.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline

from components.champion_finder.component import ChampionFinder
from components.feature_extractor.executor import WEIGHTS
from components.image_example_gen.component import ImageExampleGen
from components.schema_gen.component import SchemaGen
from pipeline import beam_options
from pipeline.kubeflow.settings import STORE_VARIABLES, Kubeflow, Secret, Steps, Volume

# Steps that write to none of the paths in their parameters.
_READERS = (ImageExampleGen, SchemaGen, ChampionFinder)
# Parameters that a reporter only shows: all settings of the run, with paths that it does not open.
_SHOWN = frozenset({"settings", "study"})
# How a place begins; the addresses of servers are URLs too.
_PLACES = ("/", "file://", *(f"{each}://" for of in STORE_VARIABLES.values() for each in of))
# The launcher takes the store's credentials from the environment, except for this scheme: for it,
# the launcher reads the key of Kubeflow Pipelines' own store from the cluster.
_KEY_FROM_CLUSTER = "minio"


@dataclass(frozen=True, kw_only=True)
class Access:
    """What the pod of a step gets.

    Attributes:
      volumes: volumes that it mounts.
      secrets: secrets that become environment variables.
      writes: whether it writes to a volume.
    """

    volumes: tuple[Volume, ...] = ()
    secrets: tuple[Secret, ...] = ()
    writes: bool = False


@dataclass(frozen=True)
class _Place:
    """A path or URI in a step's parameters."""

    text: str
    is_written: bool


def access(node: BaseNode, dag: Pipeline, kubeflow: Kubeflow) -> Access:
    """Returns what a step of a pipeline gets.

    Args:
      node: the step.
      dag: the pipeline, whose Beam options the step may use.
      kubeflow: the settings.

    Returns:
      The volumes that contain a path in its parameters, the secrets of the object stores that its
      parameters and its launcher open, and those for which the settings list the step.
    """
    return _access(node.id.partition(".")[0], list(_places(node, dag)), kubeflow)


def access_to_root(step: str, kubeflow: Kubeflow) -> Access:
    """Returns what a step gets that reads the pipeline root, and has no other parameters."""
    return _access(step, [_Place(kubeflow.pipeline_root, is_written=False)], kubeflow)


def _access(step: str, places: list[_Place], kubeflow: Kubeflow) -> Access:
    mounts = {place: _mount(place.text, kubeflow.volumes) for place in places}
    variables = {path for value in kubeflow.env.values() if (path := _path(value))}
    shared = [_mount(str(path), kubeflow.volumes) for path in sorted(variables)]
    used = [volume for volume in (*mounts.values(), *shared) if volume]
    volumes = tuple(
        volume
        for volume in kubeflow.volumes
        if (volume in used if volume.steps is None else _is_named(step, volume.steps))
    )
    return Access(
        volumes=volumes,
        secrets=tuple(_secrets(step, _schemes(places, kubeflow), kubeflow.secrets)),
        writes=any(place.is_written and mounts[place] in volumes for place in places),
    )


def _is_named(step: str, steps: Steps) -> bool:
    return steps == "all" or step in steps


def _schemes(places: Iterable[_Place], kubeflow: Kubeflow) -> set[str]:
    """Returns the schemes of the stores that a pod opens with credentials in its environment."""
    schemes = {place.text.partition("://")[0] for place in places if "://" in place.text}
    root = kubeflow.pipeline_root.partition("://")[0]
    return schemes if root == _KEY_FROM_CLUSTER else schemes | {root}


def _secrets(step: str, schemes: set[str], secrets: Iterable[Secret]) -> Iterator[Secret]:
    prefixes = tuple(prefix for prefix, stores in STORE_VARIABLES.items() if schemes & set(stores))
    for secret in secrets:
        if secret.steps is not None:
            given = secret.env if _is_named(step, secret.steps) else {}
        else:
            given = {name: key for name, key in secret.env.items() if name.startswith(prefixes)}
        if given:
            yield secret.model_copy(update={"env": given})


def _mount(text: str, volumes: Iterable[Volume]) -> Volume | None:
    """Returns the innermost volume that contains a path, or else the first one below it."""
    path = _path(text)
    if path is None:
        return None
    around = [volume for volume in volumes if path.is_relative_to(_folder(volume))]
    below = [volume for volume in volumes if _folder(volume).is_relative_to(path)]
    return max(around, key=lambda volume: len(_folder(volume).parts), default=None) or (
        below[0] if below else None
    )


def _folder(volume: Volume) -> PurePosixPath:
    return PurePosixPath(volume.path)


def _path(text: str) -> PurePosixPath | None:
    text = text.removeprefix("file://")
    return PurePosixPath(text) if text.startswith("/") else None


def _places(node: BaseNode, dag: Pipeline) -> Iterator[_Place]:
    """Yields the paths and URIs in a step's parameters, and in the Beam options if it uses them."""
    for key, text in _texts(dict(node.exec_properties)):
        if text.startswith(_PLACES):
            yield _Place(text, is_written=not isinstance(node, _READERS) and key != WEIGHTS)
    if isinstance(node.executor_spec, BeamExecutorSpec):
        for option, value in beam_options.parsed(dag.beam_pipeline_args or []).items():
            if value.startswith(_PLACES):
                yield _Place(value, is_written=option in beam_options.WRITTEN)


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yields each text in a parameter, with its innermost key."""
    if isinstance(value, RuntimeParameter):
        value = value.default
    if isinstance(value, str) and value.startswith(("{", "[")):
        with suppress(json.JSONDecodeError):
            value = json.loads(value)
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name not in _SHOWN:
                yield from _texts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)
