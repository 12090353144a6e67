"""Beam's file systems for use outside of a pipeline.

Importing this module is cheap; Beam is imported when a file system is used.
"""

from types import ModuleType


def beam_io() -> ModuleType:
    """`apache_beam.io`, whose `filesystems` can be used without a pipeline.

    A store's address and credentials come from the environment, such as `AWS_ENDPOINT_URL`,
    unless the options of a pipeline set them.
    """
    import apache_beam.io.filesystem
    import apache_beam.io.filesystems
    from apache_beam.options.pipeline_options import PipelineOptions

    systems = apache_beam.io.filesystems.FileSystems
    # Beam's S3 requires options, which are otherwise set by the first pipeline.
    if not systems._pipeline_options:
        systems.set_options(PipelineOptions([]))
    return apache_beam.io
