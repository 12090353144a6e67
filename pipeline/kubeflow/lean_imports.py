"""Makes a step import what it needs and no more.

Three things make a TFX executor slow to import, none of which it needs. `tfx.components` and
`tensorflow_model_analysis` import all that they have when one module of theirs is wanted.
TensorFlow imports Keras on its own account, and with it libraries for plots and tables; others
import those for notebooks. And the garbage collector goes through a million fresh objects again
and again.

So, for this process: those packages are entered without running their `__init__`; TensorFlow is
imported first, while what is optional to it is hidden, and libraries for notebooks all along; and
the collector rests meanwhile. Afterwards Keras and the rest are imported as ever where a step
asks for them. No file and no object of a library is changed.
"""

import contextlib
import gc
import importlib.machinery
import sys
from collections.abc import Collection, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import Any

TFMA = "tensorflow_model_analysis"
TFX_COMPONENTS = "tfx.components"
# What TensorFlow tries to import, and does without where it is not installed.
_OPTIONAL_TO_TENSORFLOW = ("keras", "scipy", "pandas", "sklearn", "matplotlib", "h5py")
# What several libraries import for notebooks, and all but TFMA do without.
_NOTEBOOKS = ("IPython", "ipywidgets")


@contextlib.contextmanager
def lean_imports(bare: Collection[str]) -> Iterator[None]:
    """Within it imports are lean.

    Args:
      bare: the packages to enter without their `__init__`, of which nothing but modules is
        wanted. Libraries for notebooks are hidden where TFMA is one of them.
    """
    finder = _BareFinder(bare)
    sys.meta_path.insert(0, finder)
    gc.disable()
    try:
        with _hidden(_NOTEBOOKS if TFMA in bare else ()):
            with _hidden(_OPTIONAL_TO_TENSORFLOW):
                import tensorflow  # noqa: F401 - while they are hidden
            yield
    finally:
        gc.enable()
        # What was imported stays: no use to look at it again.
        gc.freeze()
        sys.meta_path.remove(finder)


@contextlib.contextmanager
def _hidden(names: Collection[str]) -> Iterator[None]:
    """Within it, packages that are not imported yet look as if they were not installed."""
    # An entry of None makes the import system say that there is no such module.
    absent: dict[str, Any] = {name: None for name in names if name not in sys.modules}
    sys.modules.update(absent)
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


class _BareFinder(MetaPathFinder):
    def __init__(self, bare: Collection[str]):
        self._bare = bare

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._bare:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            spec.loader = _BareLoader()
        return spec


class _BareLoader(Loader):
    """Leaves a package empty; its modules are found in its folder as ever."""

    def exec_module(self, module: ModuleType) -> None:
        return None
