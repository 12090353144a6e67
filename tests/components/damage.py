"""What a crash or a damaged disk does to a file."""

import os
from pathlib import Path

import pytest


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGES = [pytest.param(each, id=each.__name__) for each in (flip_a_bit, empty, halve)]
