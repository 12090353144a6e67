"""The model config that the gateway writes, read by TensorFlow Serving's own messages."""

import subprocess
import sys
from pathlib import Path

from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from gateway.model_config import config_text, config_without_models, write_config

ROOT = Path(__file__).resolve().parents[3]

# Protocol Buffers' strings have no surrogates, and paths no NUL.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(name=TEXTS, folder=TEXTS, version=st.integers(1, 2**62))
def test_tensorflow_serving_reads_the_name_the_folder_and_the_version(name, folder, version):
    base_path = Path("/") / folder
    found = text_format.Parse(config_text(name, base_path, version), ModelServerConfig())
    expected = ModelServerConfig()
    model = expected.model_config_list.config.add(name=name, base_path=str(base_path))
    model.model_platform = "tensorflow"
    model.model_version_policy.specific.versions.append(version)
    assert found == expected


def test_a_config_without_models_is_a_list_of_models_to_which_a_model_can_be_added():
    found = text_format.Parse(config_without_models(), ModelServerConfig())
    # TensorFlow Serving changes from one list to another, but not from a list to anything else.
    assert found.WhichOneof("config") == "model_config_list"
    assert not found.model_config_list.config


def test_a_config_is_replaced_as_a_whole_and_only_if_it_differs(tmp_path):
    path = tmp_path / "models.config"
    assert write_config(path, "first")
    first = path.stat().st_ino
    assert not write_config(path, "first")
    assert path.stat().st_ino == first
    assert write_config(path, "second")
    assert path.stat().st_ino != first  # a reader of the old file sees all of the old text
    assert [each.name for each in tmp_path.iterdir()] == ["models.config"]
    assert path.read_text() == "second"


def test_the_command_of_the_pod_writes_a_first_config_and_keeps_one_that_is_there(tmp_path):
    path = tmp_path / "models.config"
    command = [sys.executable, "-m", "gateway.model_config", str(path)]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'deploy' / 'gateway'}"}
    subprocess.run(command, check=True, env=environment)
    assert path.read_text() == config_without_models()
    path.write_text("of the gateway")
    subprocess.run(command, check=True, env=environment)
    assert path.read_text() == "of the gateway"
