"""The child process of `isolated`: reads the images that it receives, within limits."""

import dataclasses
import json
import os
import resource
from typing import IO

from components.images import reader
from components.images.isolated import read_frame, write_frame

# Decoding takes at most about 20 bytes per pixel, for formats that may have half the pixels.
_BYTES_PER_PIXEL = 24
_OTHER_BYTES = 1 << 30
_CPU_SECONDS = 60
_CPU_PIXELS = 50_000_000
"""Pixels for which `_CPU_SECONDS` are allowed; a larger `max_pixels` has a multiple of them."""

_NUMBERS = [field.name for field in dataclasses.fields(reader.ReadImage) if field.name != "data"]


def main() -> None:
    """Reads images until the parent process ends."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    # Output of libraries must not get into the answers.
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers.write(b"\n")
    answers.flush()
    while True:
        try:
            head, data = read_frame(requests)
        except EOFError:
            return
        max_pixels, max_side = json.loads(head)
        _limit(max_pixels)
        _answer(answers, data, max_pixels, max_side)


def _limit(max_pixels: int) -> None:
    memory = _BYTES_PER_PIXEL * max_pixels + _OTHER_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (memory, resource.RLIM_INFINITY))
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = _CPU_SECONDS * max(1, max_pixels // _CPU_PIXELS)
    end = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (end, resource.RLIM_INFINITY))


def _answer(answers: IO[bytes], data: bytes, max_pixels: int, max_side: int) -> None:
    try:
        image = reader.read_image(data, max_pixels=max_pixels, max_side=max_side)
    except reader.RefusedImageError as error:
        _refuse(answers, error.reason, error.detail)
    except MemoryError:
        _refuse(answers, reader.TOO_LARGE, "decoding it takes too much memory; make it smaller")
    else:
        is_unchanged = image.data is data
        head = {name: getattr(image, name) for name in _NUMBERS} | {"is_unchanged": is_unchanged}
        write_frame(answers, json.dumps(head).encode(), b"" if is_unchanged else image.data)


def _refuse(answers: IO[bytes], reason: str, detail: str) -> None:
    write_frame(answers, json.dumps({"reason": reason, "detail": detail}).encode(), b"")


if __name__ == "__main__":
    main()
