"""Images read as training read them, a few at a time and off the event loop."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from components.images.reader import RefusedImageError, read_image
from components.images.rules import ReadingRules, RulesError, read_rules
from gateway.errors import RequestError
from gateway.limits import Share


def load_rules(registry: Path, version: int) -> ReadingRules:
    """The reading rules of a model of the registry.

    Raises:
      RulesError: they do not exist, cannot be read, or are other than this version follows.
    """
    model = registry / str(version)
    try:
        return read_rules(model)
    except RulesError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RulesError(f"the reading rules of {model} cannot be read: {error}") from error


class ImageReader:
    """The project's reader on threads of its own: Pillow decodes without Python's lock."""

    def __init__(self, decoders: int):
        """Starts no thread yet.

        Args:
          decoders: images that are decoded at a time, of all requests together; the rest wait.
        """
        self._threads = ThreadPoolExecutor(decoders, thread_name_prefix="decoder")

    async def read(self, images: Sequence[bytes], rules: ReadingRules, share: Share) -> list[bytes]:
        """Each image as the model takes it, in order; nothing is left out.

        Once the request is cancelled or fails, its images that still wait are not read.

        Args:
          images: encoded.
          rules: of the model.
          share: counts the bytes of what is read; a small file can become a large one.

        Raises:
          RequestError: 422, which names each image that is refused; 413 or 503, where the share
            has no room.
        """
        tasks = [asyncio.create_task(self._counted(image, rules, share)) for image in images]
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

    async def _counted(
        self, image: bytes, rules: ReadingRules, share: Share
    ) -> bytes | RefusedImageError:
        found = await self.run(_read, image, rules)
        if isinstance(found, bytes):
            share.take(len(found))
        return found

    async def run(self, function: Any, *arguments: Any) -> Any:
        """The result of a function that runs on the same threads, such as parsing a long body."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def close(self) -> None:
        """Ends the threads once they have no work."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _read(image: bytes, rules: ReadingRules) -> bytes | RefusedImageError:
    try:
        return read_image(image, max_pixels=rules.max_pixels, max_side=rules.max_side).data
    except RefusedImageError as error:
        return error


def _refusal(refused: list[dict[str, Any]], count: int) -> RequestError:
    first = refused[0]
    message = (
        f"{len(refused)} of {count} images cannot be read, so none was judged; the first is image "
        f"{first['index']}, {first['reason']}: {first['detail']}"
    )
    return RequestError(422, "image_refused", message, refused=refused)
