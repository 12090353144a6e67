"""Reads images so that one that crashes its decoder, or takes too much memory or time, is refused.

Small JPEGs and PNGs, whose decoders are the most widely used, are read in this process. Any other
image is read in a child process (`child`), which has limits of memory and CPU time and reads many
images.
"""

import json
import signal
from collections.abc import Sequence

from components.images import png, reader
from components.images.child_process import ChildDiedError, Children, Message, command
from components.images.rules import DEFAULT_MAX_PIXELS

# Reading the headers alone of a larger file may take long.
_SMALL_BYTES = 4 << 20
_HARMLESS = (b"\xff\xd8\xff", png.SIGNATURE)

# An image whose child process dies is read again: another process may have used up the memory.
_TRIES = 2

_children = Children(command("components.images.child"))


def read_image(
    data: bytes,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    max_side: int = 0,
    in_child: bool = False,
) -> reader.ReadImage:
    """Returns what `reader.read_image` returns; safe for use by many threads.

    Args:
      data: see `reader.read_image`, as `max_pixels` and `max_side`.
      in_child: whether a child process also reads small JPEGs and PNGs.

    Raises:
      RefusedImageError: see `reader.read_image`. Also if reading takes too much memory
        (`too_large`) or CPU time (`too_slow`), or crashes the child process (`undecodable`).
    """
    if not in_child and _is_harmless(data):
        return reader.read_image(data, max_pixels=max_pixels, max_side=max_side)
    return _read_in_child(data, max_pixels, max_side)


def read_images(
    images: Sequence[bytes],
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    max_side: int = 0,
    in_child: bool = False,
) -> list[reader.ReadImage | reader.RefusedImageError]:
    """Returns what `read_image` returns or raises for each image, in less time than one by one.

    Args:
      images: see `reader.read_images`.
      max_pixels: see `read_image`, as `max_side` and `in_child`.
    """
    here = [] if in_child else [index for index, data in enumerate(images) if _is_harmless(data)]
    read = reader.read_images(
        [images[index] for index in here], max_pixels=max_pixels, max_side=max_side
    )
    found = dict(zip(here, read, strict=True))
    return [
        found[index] if index in found else _read_or_refused(data, max_pixels, max_side)
        for index, data in enumerate(images)
    ]


def end_children() -> None:
    """Ends the child processes of this process; more are started when needed."""
    _children.end()


def _is_harmless(data: bytes) -> bool:
    return len(data) <= _SMALL_BYTES and data.startswith(_HARMLESS)


def _read_or_refused(
    data: bytes, max_pixels: int, max_side: int
) -> reader.ReadImage | reader.RefusedImageError:
    try:
        return _read_in_child(data, max_pixels, max_side)
    except reader.RefusedImageError as error:
        return error


def _read_in_child(data: bytes, max_pixels: int, max_side: int) -> reader.ReadImage:
    reader.check_bytes(len(data), max_pixels)
    request = Message(f"[{max_pixels},{max_side}]".encode(), data)
    for attempt in range(1, _TRIES + 1):
        try:
            return _image(_children.ask(request), data)
        except ChildDiedError as error:
            if attempt == _TRIES or error.code == -signal.SIGXCPU:
                raise _refusal(error.code) from None
    raise AssertionError  # the last attempt returns or raises


def _image(answer: Message, data: bytes) -> reader.ReadImage:
    head = json.loads(answer.head)
    if "reason" in head:
        raise reader.RefusedImageError(head["reason"], head["detail"])
    return reader.ReadImage(data if head.pop("is_unchanged") else answer.body, **head)


def _refusal(code: int) -> reader.RefusedImageError:
    """Returns why the image is refused whose child process ended with an exit code."""
    if code == -signal.SIGXCPU:
        detail = "decoding it takes too much CPU time; save it as a baseline JPEG or PNG"
        return reader.RefusedImageError(reader.TOO_SLOW, detail)
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    if code == -signal.SIGKILL:
        detail = f"the process that decoded it was killed ({name}), probably for lack of memory"
        return reader.RefusedImageError(reader.TOO_LARGE, detail)
    detail = f"its decoder crashed ({name}); convert it to JPEG or PNG"
    return reader.RefusedImageError(reader.UNDECODABLE, detail)
