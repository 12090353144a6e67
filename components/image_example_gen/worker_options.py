"""In how many processes each Beam worker reads images."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions

AUTO = "auto"
# Their children cost more than they save with fewer images.
_MIN_IMAGES = 2000


class ImageWorkerOptions(PipelineOptions):
    """Beam's options with `--image_workers`."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--image_workers",
            default="1",
            help="Processes in which a Beam worker reads images: a number, or auto for one per "
            "core.",
        )


def image_workers(beam_args: Iterable[str], images: int) -> int:
    """Returns in how many processes each worker reads images.

    Args:
      beam_args: options of Beam, such as `--image_workers=auto`.
      images: number of images to read.
    """
    given = PipelineOptions(list(beam_args)).view_as(ImageWorkerOptions).image_workers
    if given != AUTO:
        return int(given)
    return 1 if images < _MIN_IMAGES else cores()


def cores() -> int:
    """Returns the number of cores that this process may use, within its container's limit."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(allowed, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup of version 2, or "max"
        return allowed
