"""Keeps the variables of two SavedModels of one network on the disk once.

The files are linked, so that each folder has them whole and either can be deleted. No step changes
files of an artifact: it writes new ones in a folder of its own, or renames new ones into place. A
disk that damages the file damages it in both, of which each has the digest in its list of files.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from components import file_io

_VARIABLES = "variables"
# What a checkpoint says of its objects; the same for equal parts with equal names.
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
_SCRATCH = ".linked"


def share(original: str, other: str, link: Callable[[Path, Path], None] = os.link) -> bool:
    """Replaces the variables of a SavedModel by links to those of another, if they are equal.

    Args:
      original: folder of the SavedModel whose files are kept.
      other: folder of a SavedModel of the same network, which is changed. It remains as it is if a
        folder isn't local, the file system has no links between the two, or a variable has another
        name or value.
      link: makes a file that is another one.

    Returns:
      Whether the variables are now shared.
    """
    if not (file_io.is_local(original) and file_io.is_local(other)):
        return False
    source, target = Path(original) / _VARIABLES, Path(other) / _VARIABLES
    if _names(source) != _names(target) or not _equal(source, target):
        return False
    scratch = target.with_name(_SCRATCH)
    scratch.mkdir()
    try:
        for name in _names(source):
            link(source / name, scratch / name)
    except OSError:
        shutil.rmtree(scratch)
        return False
    shutil.rmtree(target)
    scratch.rename(target)
    return True


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def _equal(source: Path, target: Path) -> bool:
    one, other = (tf.train.load_checkpoint(str(each / _VARIABLES)) for each in (source, target))
    names = set(one.get_variable_to_shape_map())
    if names != set(other.get_variable_to_shape_map()):
        return False
    return all(_same(one, other, name) for name in names - {_OBJECTS})


def _same(one: Any, other: Any, name: str) -> bool:
    values, others = np.asarray(one.get_tensor(name)), np.asarray(other.get_tensor(name))
    return values.dtype == others.dtype and np.array_equal(values, others)
