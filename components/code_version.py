"""Versions of the code that makes a run's artifacts, as other code may make other artifacts.

Imports neither TensorFlow nor TFX.
"""

import functools
import hashlib
import json
from importlib import metadata
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_FOLDERS = ("components", "pipeline")
_SUFFIXES = frozenset({".py", ".jinja", ".css", ".js"})
# Other versions of these may read, train or export differently.
_LIBRARIES = ("apache-beam", "keras", "numpy", "pillow", "scikit-learn", "tensorflow", "tfx")


@functools.cache
def project_version() -> str:
    """Returns a digest of the project's own code and of the versions of its main libraries.

    Returns:
      64 hex digits.
    """
    files = (path for name in _FOLDERS for path in (_ROOT / name).rglob("*"))
    return _digest(sorted(path for path in files if path.suffix in _SUFFIXES), _LIBRARIES)


def modules_version(*modules: str, libraries: tuple[str, ...]) -> str:
    """Returns a digest of some modules' code and of some libraries' versions.

    Args:
      modules: full names of modules of this project; none is imported.
      libraries: names of installed distributions, such as `keras`.

    Returns:
      64 hex digits.

    Raises:
      FileNotFoundError: a module does not exist.
    """
    found = [_ROOT / f"{name.replace('.', '/')}.py" for name in modules]
    return _digest(found, libraries)


def _digest(files: list[Path], libraries: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    digest.update(json.dumps([[name, metadata.version(name)] for name in libraries]).encode())
    for path in files:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(_ROOT).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()
