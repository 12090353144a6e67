"""Beam's file systems, ready for use outside of a pipeline.

Importing this module is cheap; Beam is imported when a file system is asked for.
"""

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

# What Beam reads as a pattern; it has no way to quote these.
_BEFORE_PATTERN = re.compile(r"[^\[*?]*")


def beam_io() -> ModuleType:
    """`apache_beam.io`, whose `filesystems` can be used before any pipeline is made.

    A store's address and credentials come from the environment, such as `AWS_ENDPOINT_URL`,
    unless options of a pipeline say otherwise.
    """
    import apache_beam.io.filesystem
    import apache_beam.io.filesystems
    from apache_beam.options.pipeline_options import PipelineOptions

    systems = apache_beam.io.filesystems.FileSystems
    # Beam's S3 refuses to work without options, which else come with the first pipeline.
    if not systems._pipeline_options:
        systems.set_options(PipelineOptions([]))
    return apache_beam.io


def files_below(prefix: str) -> list[Any]:
    """Beam's metadata of all files whose path begins with a text, taken literally.

    Args:
      prefix: with its scheme, such as `s3://bucket/photos/`; `[`, `*` and `?` in it are
        signs like any other.

    Raises:
      BeamIOError: the store can't be listed.
      ValueError: Beam has no file system for the scheme.
    """
    plain = _BEFORE_PATTERN.match(prefix)
    pattern = f"{plain.group() if plain else ''}**"
    (found,) = beam_io().filesystems.FileSystems.match([pattern])
    return [metadata for metadata in found.metadata_list if metadata.path.startswith(prefix)]


def file_at(path: str) -> Any | None:
    """Beam's metadata of one file, its path taken literally; None where there is no such file.

    Raises:
      BeamIOError: the store can't be asked.
      ValueError: Beam has no file system for the scheme.
    """
    system = beam_io().filesystems.FileSystems.get_filesystem(path)
    return system.metadata(path) if system.exists(path) else None


def checksums(scheme: str) -> Callable[[str], str]:
    """What gives the checksum that a store keeps of a file, by one connection for all of them.

    Beam's own `FileSystems.checksum` makes a client for each file, which costs a tenth of a
    second.

    Args:
      scheme: `gs` or `s3`.

    Returns:
      A function of a path, for use by many threads. It raises what the store's client raises.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    options = PipelineOptions([])
    if scheme == "s3":
        from apache_beam.io.aws.s3io import S3IO

        return S3IO(options=options).checksum
    from apache_beam.io.gcp.gcsio import GcsIO

    return GcsIO(pipeline_options=options).checksum
