import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import tensorflow as tf
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from model_folders import make_model
from stores_on_localhost import amazon, google
from tensorflow.core.protobuf import saved_model_pb2

from components import artifacts, names
from components.champion_finder import executor, found_champion
from components.champion_finder.component import ChampionFinder
from components.registry import open_registry
from components.registry.errors import RegistryError
from components.registry.record import VersionRecord

STORES = {"s3": amazon, "gs": google}
VARIABLES = "variables/variables.data"


def saved_model(*signatures: str) -> bytes:
    """A SavedModel without a graph."""
    saved = saved_model_pb2.SavedModel()
    found = saved.meta_graphs.add().signature_def
    for name in signatures:
        found[name].inputs["images"].dtype = tf.string.as_datatype_enum
        found[name].outputs["probability"].dtype = tf.float32.as_datatype_enum
    return saved.SerializeToString()


COMPARABLE = saved_model("predict_images")


def push(registry: Path, text: str, graph: bytes = COMPARABLE, positive_class: str = "dogs") -> int:
    model = make_model(registry.parent / f"pushed {text}", text)
    (model / "saved_model.pb").write_bytes(graph)
    settings = {"data": {"positive_class": positive_class}}
    pushed = open_registry(registry).push(
        model, lambda number: VersionRecord(version=number, blessed=True, settings=settings)
    )
    return pushed.version


def run(
    registry: object, target: Path, *, version: str = "", required: str = ""
) -> found_champion.FoundChampion:
    output = artifacts.Champion()
    output.uri = str(target)
    finder = ChampionFinder(
        registry=str(registry), positive_class="dogs", serving_version=version, required=required
    )
    executor.Executor().Do({}, {names.CHAMPION: [output]}, finder.exec_properties)
    return found_champion.read(output.uri)


def public_key(folder: Path) -> Path:
    path = folder / "public.pem"
    key = Ed25519PrivateKey.generate().public_key()
    path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.fixture
def registry(tmp_path):
    folder = tmp_path / "registry"
    push(folder, "first")
    push(folder, "second")
    return folder


def weights(target: Path) -> str:
    return (Path(found_champion.model_folder(str(target))) / VARIABLES).read_text()


def test_the_champion_is_the_version_that_serves_not_the_newest(registry, tmp_path):
    open_registry(registry).rollback(reason="worse in the dark")
    found = run(registry, tmp_path / "champion")
    assert (found.version, found.registry, found.reason) == (1, str(registry), "")
    assert weights(tmp_path / "champion") == "first"
    record = Path(found_champion.model_folder(str(tmp_path / "champion"))) / "version.json"
    assert json.loads(record.read_text())["version"] == 1


@pytest.mark.parametrize(("version", "found"), [("1", 1), ("none", None)])
def test_a_run_may_name_its_champion(registry, tmp_path, version, found):
    assert run(registry, tmp_path / "champion", version=version).version == found


def test_without_a_registry_there_is_no_champion_which_is_said(tmp_path):
    found = run(tmp_path / "none", tmp_path / "champion", required="comparison")
    assert found.version is None
    assert "has no serving version, so this is the first model" in found.reason
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("required", ["model", "comparison"])
def test_a_damaged_champion_stops_a_run_that_requires_it_and_it_is_said_what_to_do(
    registry, tmp_path, required
):
    (registry / "2" / VARIABLES).write_text("changed")
    before = (registry / "registry.json").read_bytes()
    with pytest.raises(RegistryError, match=r"champion, version 2 of .*ollback"):
        run(registry, tmp_path / "champion", required=required)
    assert (registry / "registry.json").read_bytes() == before
    assert not (tmp_path / "champion" / "champion.json").exists()


def test_a_damaged_champion_that_no_gate_is_on_is_reported(registry, tmp_path):
    (registry / "2" / VARIABLES).write_text("changed")
    found = run(registry, tmp_path / "champion")
    assert found.version == 2
    assert "can't be used" in found.reason
    assert "damaged" in found.reason
    assert not (tmp_path / "champion" / "model").exists()


NOT_COMPARABLE = [
    ({"graph": saved_model("predict")}, "it must have a signature 'predict_images'"),
    ({"positive_class": "cats"}, "positive class must be 'dogs'.* Received: 'cats'"),
]


@pytest.mark.parametrize(("made", "expected"), NOT_COMPARABLE)
def test_a_champion_that_can_not_be_compared_stops_a_run_with_a_gate_on_it(
    registry, tmp_path, made, expected
):
    push(registry, "third", **made)
    with pytest.raises(RegistryError, match=f"version 3 of .*{expected}.*Remove the gates"):
        run(registry, tmp_path / "champion", required="comparison")
    for required in ("", "model"):
        found = run(registry, tmp_path / f"champion {required}", required=required)
        assert re.search(expected, found.reason)
        assert weights(tmp_path / f"champion {required}") == "third"


def test_a_champion_whose_positive_class_was_not_recorded_is_compared(registry, tmp_path):
    (registry / "registry.json").unlink()
    for name in ("version.json", "files.json"):
        (registry / "2" / name).unlink()  # as pushed by an earlier release
    assert run(registry, tmp_path / "champion", required="comparison").reason == ""


def test_a_champion_that_was_damaged_after_it_was_copied_is_noticed_before_a_run(registry):
    asked = found_champion.Request(str(registry), "2", positive_class="dogs", required="model")
    found_champion.check(asked)
    (registry / "2" / VARIABLES).write_text("changed")
    with pytest.raises(RegistryError, match=r"champion, version 2 of .*damaged: variables/"):
        found_champion.check(asked)
    found_champion.check(replace(asked, required=""))
    found_champion.check(replace(asked, version="none"))


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_a_champion_is_copied_from_an_object_store(kind, tmp_path, monkeypatch):
    with STORES[kind]("champions") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        root = f"{kind}://champions/dogs"
        local = tmp_path / "registry"
        push(local, "first")
        open_registry(root).push(local / "1", lambda number: open_registry(local).record(number))
        assert run(root, tmp_path / "champion", required="comparison").version == 1
        assert weights(tmp_path / "champion") == "first"
        monkeypatch.setenv("OUTNUMBERED_VERIFY_KEY", str(public_key(tmp_path)))
        with pytest.raises(RegistryError, match=r"champion, version 1 of .*signed"):
            run(root, tmp_path / "unsigned", required="comparison")
        assert open_registry(root).serving() == 1
