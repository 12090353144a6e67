"""Which weights, splits and code an interrupted training may be resumed with."""

import os
from pathlib import Path

import pytest

from components.trainer import arm as arm_module
from components.trainer import checkpoint, weights
from components.trainer.arm import Arm
from components.trainer.checkpoint import training_identity
from components.trainer.data import read_split
from components.trainer.draws import DrawnSplits, Part


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "xception.weights.h5"
    path.write_bytes(b"one")
    return path


def test_a_file_is_identified_by_its_content(file):
    first = weights.version(str(file))
    os.utime(file, ns=(1, 1))
    assert weights.version(str(file)) == first
    file.write_bytes(b"two")
    assert weights.version(str(file)) != first


def test_an_unchanged_file_is_read_once(file, monkeypatch):
    first = weights.version(str(file))
    monkeypatch.setattr(weights.hashlib, "file_digest", None)
    assert weights.version(str(file)) == first


@pytest.mark.parametrize("name", ["imagenet", "none", "/nowhere/xception.weights.h5"])
def test_weights_that_are_not_a_file_here_have_no_version(name):
    assert weights.version(name) == ""


@pytest.fixture
def identities(examples_uri, make_settings, file):
    """The identities of a training and of an arm with the weights at one path."""
    splits = [read_split(name, [f"{examples_uri}/Split-{name}/*"]) for name in ("train", "val")]
    arm = Arm(name="a", train_split="train", val_split="val", test_splits=(), replicates=1)

    def both() -> tuple[str, str]:
        settings = make_settings(model="xception", weights=str(file), image_size=71)
        train, val = (Part(split.name, split) for split in splits)
        draws = [DrawnSplits(train=train, evaluated={"val": val})]
        return training_identity(settings, splits), arm_module._identity(settings, arm, draws)

    return both


def test_a_training_with_other_weights_at_the_same_path_is_not_resumed(identities, file):
    before = identities()
    assert identities() == before
    file.write_bytes(b"two")
    for one, other in zip(before, identities(), strict=True):
        assert one != other


def test_a_training_of_other_code_is_not_resumed(identities, monkeypatch):
    before = identities()
    monkeypatch.setattr(checkpoint, "project_version", lambda: "other")
    for one, other in zip(before, identities(), strict=True):
        assert one != other
