"""Makes a step import only what it needs.

Three things slow down the import of a TFX executor, and none of them is needed. `tfx.components`
and `tensorflow_model_analysis` import all their modules when one is imported. TensorFlow imports
Keras, and with it libraries for plots and tables; other packages import libraries for notebooks.
The garbage collector traverses a million new objects repeatedly.

So, in this process: those packages are imported without running their `__init__`; TensorFlow is
imported first, with its optional dependencies hidden; libraries for notebooks stay hidden
throughout; and the garbage collector is disabled meanwhile. Afterwards Keras and the rest are
imported as usual when a step needs them. No file or object of a library is changed.
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
# Optional imports of TensorFlow.
_OPTIONAL_TO_TENSORFLOW = ("keras", "scipy", "pandas", "sklearn", "matplotlib", "h5py")
# Imported by several libraries for notebooks; optional for all but TFMA.
_NOTEBOOKS = ("IPython", "ipywidgets")


@contextlib.contextmanager
def lean_imports(bare: Collection[str]) -> Iterator[None]:
    """A context in which imports are lean.

    Args:
      bare: packages to import without their `__init__`, of which only modules are used.
        Libraries for notebooks are hidden if TFMA is one of them.
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
        # Imported objects stay, so the collector need not traverse them again.
        gc.freeze()
        sys.meta_path.remove(finder)


@contextlib.contextmanager
def _hidden(names: Collection[str]) -> Iterator[None]:
    """A context in which packages not imported yet appear as not installed."""
    # For an entry of None the import system raises ModuleNotFoundError.
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
    """Leaves a package empty; its modules are found in its folder as usual."""

    def exec_module(self, module: ModuleType) -> None:
        return None
