"""Models on workers that don't have the files of the machine that started the job."""

import pickle

import pytest
from brightness_model import save_brightness_model
from model_folders import recorded
from stores_on_localhost import amazon

from components import artifact_files
from components.registry import open_registry
from pipeline.served_model import SharedModel


def test_a_worker_without_the_model_fetches_the_same_version(
    tmp_path, monkeypatch: pytest.MonkeyPatch
):
    model = save_brightness_model(tmp_path / "model")
    artifact_files.list_all(str(model))
    with amazon("models") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        registry = open_registry("s3://models/of/cats")
        for _ in range(2):
            registry.push(model, recorded(blessed=True))
        shared = SharedModel(str(tmp_path / "not here" / "1"), "s3://models/of/cats")
        loaded = pickle.loads(pickle.dumps(shared)).load()
    assert "probability" in loaded.outputs
    assert not (tmp_path / "not here").exists()
