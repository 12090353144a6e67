"""TensorFlow Serving's model config, a file that says which version of the model it serves.

TensorFlow Serving reads the file when it starts, and then every
`--model_config_file_poll_wait_seconds`. It loads the version of a changed config before it unloads
the one that it serves. It does not start without the file, so

    python -m gateway.model_config PATH

writes a config without a model, unless the file exists.
"""

import sys
from pathlib import Path

from google.protobuf import text_format

from components.whole_file import write_text
from gateway import serving_pb2 as messages

_PLATFORM = "tensorflow"


def config_text(name: str, base_path: Path, version: int) -> str:
    """Returns a config, in Protocol Buffers' text format, that serves one version of a model.

    Args:
      name: name of the model.
      base_path: absolute path of the folder with a folder per version, as TensorFlow Serving sees
        it.
      version: the version to serve.
    """
    config = messages.ModelServerConfig()
    model = config.model_config_list.config.add()
    model.name, model.base_path, model.model_platform = name, str(base_path), _PLATFORM
    model.model_version_policy.specific.versions.append(version)
    return text_format.MessageToString(config)


def config_without_models() -> str:
    """Returns a config that serves no model."""
    config = messages.ModelServerConfig()
    config.model_config_list.SetInParent()
    return text_format.MessageToString(config)


def write_config(path: Path, text: str) -> bool:
    """Replaces the file atomically if its text differs.

    Returns:
      Whether it was replaced.
    """
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text)
    return True


if __name__ == "__main__":
    given = Path(sys.argv[1])
    if not given.exists():
        write_text(given, config_without_models())
