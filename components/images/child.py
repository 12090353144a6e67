"""The child process of `isolated`: reads the images that it receives, within limits."""

import dataclasses
import json
import resource
from collections.abc import Iterator

from components.images import reader
from components.images.child_process import Message, serve

# Decoding takes at most about 20 bytes per pixel, for formats that may have half the pixels.
_BYTES_PER_PIXEL = 24
_OTHER_BYTES = 1 << 30
_CPU_SECONDS = 60
_CPU_PIXELS = 50_000_000
"""Pixels for which `_CPU_SECONDS` are allowed; a larger `max_pixels` has a multiple of them."""

_NUMBERS = [field.name for field in dataclasses.fields(reader.ReadImage) if field.name != "data"]


def main() -> None:
    """Reads images until the parent process ends."""
    serve(_answer)


def limit(max_pixels: int) -> None:
    """Limits the memory of this process, and its CPU time from now on.

    Args:
      max_pixels: of an image, on which the limits depend.
    """
    memory = _BYTES_PER_PIXEL * max_pixels + _OTHER_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (memory, resource.RLIM_INFINITY))
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = _CPU_SECONDS * max(1, max_pixels // _CPU_PIXELS)
    end = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (end, resource.RLIM_INFINITY))


def _answer(request: Message, _: Iterator[Message]) -> Message:
    max_pixels, max_side = json.loads(request.head)
    limit(max_pixels)
    data = request.body
    try:
        image = reader.read_image(data, max_pixels=max_pixels, max_side=max_side)
    except reader.RefusedImageError as error:
        return _refused(error.reason, error.detail)
    except MemoryError:
        detail = "decoding it takes too much memory; make it smaller"
        return _refused(reader.TOO_LARGE, detail)
    is_unchanged = image.data is data
    head = {name: getattr(image, name) for name in _NUMBERS} | {"is_unchanged": is_unchanged}
    return Message(json.dumps(head).encode(), b"" if is_unchanged else image.data)


def _refused(reason: str, detail: str) -> Message:
    return Message(json.dumps({"reason": reason, "detail": detail}).encode())


if __name__ == "__main__":
    main()
