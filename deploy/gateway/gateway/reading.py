"""Reads images as training did, in threads and a limited number at a time."""

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from components.images.isolated import read_image
from components.images.reader import RefusedImageError
from components.images.rules import ASSETS, ReadingRules, RulesError, read_rules
from gateway.errors import RequestError
from gateway.limits import Share

# Not imported from the Calibrator, since the gateway has none of its libraries.
_OPERATING_POINT = "operating_point.json"


def load_rules(registry: Path, version: int) -> ReadingRules:
    """Loads the reading rules of a model in the registry.

    Raises:
      RulesError: they do not exist, cannot be read, or are not supported by this version.
    """
    model = registry / str(version)
    try:
        return read_rules(model)
    except RulesError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RulesError(f"the reading rules of {model} cannot be read: {error}") from error


def has_score(registry: Path, version: int) -> bool:
    """Returns whether a model in the registry returns its score and the need for a review.

    A model of an earlier version records no calibration.

    Raises:
      RulesError: its operating point cannot be read.
    """
    path = registry / str(version) / ASSETS / _OPERATING_POINT
    try:
        if not path.is_file():
            return False
        return json.loads(path.read_text(encoding="utf-8")).get("calibration") is not None
    except (OSError, ValueError, AttributeError) as error:
        raise RulesError(f"the operating point {path} cannot be read: {error}") from error


class ImageReader:
    """Runs the project's reader in threads; Pillow releases the GIL while it decodes."""

    def __init__(self, decoders: int):
        """Creates the thread pool; threads start on first use.

        Args:
          decoders: maximum number of images decoded at a time, of all requests together.
        """
        self._threads = ThreadPoolExecutor(decoders, thread_name_prefix="decoder")

    async def read(self, images: Sequence[bytes], rules: ReadingRules, share: Share) -> list[bytes]:
        """Reads all images for the model, in order.

        If the request is cancelled or fails, its images that are still waiting are not read.

        Args:
          images: encoded images.
          rules: reading rules of the model.
          share: counts the bytes after reading; a small file can become a large one.

        Raises:
          RequestError: 422, which names each refused image; 413 or 503, if the share is exhausted.
        """
        tasks = [asyncio.create_task(self._read_counted(image, rules, share)) for image in images]
        try:
            found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        refused = [
            {"index": index, "reason": item.reason, "detail": item.detail}
            for index, item in enumerate(found)
            if isinstance(item, RefusedImageError)
        ]
        if refused:
            raise _refusal(refused, len(images))
        return [item for item in found if isinstance(item, bytes)]

    async def _read_counted(
        self, image: bytes, rules: ReadingRules, share: Share
    ) -> bytes | RefusedImageError:
        found = await self.run(_read, image, rules)
        if isinstance(found, bytes):
            share.acquire(len(found))
        return found

    async def run(self, function: Any, *arguments: Any) -> Any:
        """Runs a function, such as parsing a long body, in the same threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def close(self) -> None:
        """Stops the threads after their current work, without waiting for it."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _read(image: bytes, rules: ReadingRules) -> bytes | RefusedImageError:
    try:
        return read_image(image, max_pixels=rules.max_pixels, max_side=rules.max_side).data
    except RefusedImageError as error:
        return error


def _refusal(refused: list[dict[str, Any]], count: int) -> RequestError:
    first = refused[0]
    message = (
        f"{len(refused)} of {count} images cannot be read, so no predictions were made; the first "
        f"is image {first['index']}, {first['reason']}: {first['detail']}"
    )
    return RequestError(422, "image_refused", message, refused=refused)
