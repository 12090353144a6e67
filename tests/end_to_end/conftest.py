"""One small pipeline, run for real through the command line, for all tests of this folder."""

import csv
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from pipeline.sample.dataset import make_sample


@dataclass(frozen=True)
class Outcome:
    """What a command of the command line ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON object."""
        return json.loads(self.out)


def outnumbered(*arguments: object, cwd: Path | None = None) -> Outcome:
    """Runs the command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=command_environment(),
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def command_environment() -> dict[str, str]:
    """An environment in which the project is found from any folder."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "NO_COLOR": "1"}


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample data set of 400 cats and 40 dogs, 48 pixels wide, and some bad images."""
    folder = tmp_path_factory.mktemp("data") / "sample"
    manifest = make_sample(folder, images=440, side=48, random_state=1, workers=2)
    with manifest.open("a", newline="") as file:
        csv.writer(file).writerows(add_bad_images(folder))
    return folder


BAD_IMAGES = {"undecodable": 1, "not_an_image": 1, "empty": 1, "too_large": 1, "label_conflict": 2}


def add_bad_images(folder: Path) -> list[tuple[str, str, str, str]]:
    """One image of each kind that ends in quarantine, two with one content in two classes.

    Returns:
      their rows in the manifest.
    """
    whole = next((folder / "photos" / "cats").iterdir()).read_bytes()
    other = io.BytesIO()
    Image.new("RGB", (48, 48), "red").save(other, "PNG")
    contents = {
        "truncated.jpg": whole[: len(whole) // 2],
        "text.jpg": b"not a photograph",
        "zero.jpg": b"",
        "huge.png": png_header(50_000, 50_000),
        "both as cat.png": other.getvalue(),
        "both as dög.png": other.getvalue(),
    }
    (folder / "bad").mkdir()
    for name, content in contents.items():
        (folder / "bad" / name).write_bytes(content)
    return [
        (f"bad/{name}", "dogs" if "dög" in name else "cats", "tabby", "day") for name in contents
    ]


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and breaks off where its pixels begin."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(header))
    pixels = struct.pack(">I", 1 << 20) + b"IDAT"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + checksum + pixels


@pytest.fixture(scope="session")
def small_settings(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of a pipeline that trains for two epochs on the sample."""
    tree = {
        "name": "small",
        "data": {
            "source": str(sample),
            "manifest": str(sample / "manifest.csv"),
            "positive_class": "dogs",
            "slices": ["breed", "lighting"],
            "max_bad_fraction": 0.05,
        },
        "population": {"prevalence": {"cats": 10, "dogs": 1}},
        "sampler": {
            "splits": {
                "train": {"cats": 200, "dogs": 20},
                "val": {"cats": 80, "dogs": 8},
                "test": {"cats": 80, "dogs": 8},
            }
        },
        "trainer": {"model": "cnn", "image_size": 32, "epochs": 2},
        "evaluator": {"gates": ["recall >= 0.01"]},
    }
    path = tmp_path_factory.mktemp("settings") / "small.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@dataclass(frozen=True)
class FinishedRun:
    """A run that came to its end, and the folder that it worked in."""

    output: Path
    outcome: Outcome
    result: dict[str, Any]


@pytest.fixture(scope="session")
def finished(small_settings: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The first run of the small pipeline, with `--json`."""
    output = tmp_path_factory.mktemp("first") / "runs"
    outcome = outnumbered("run", "--settings", small_settings, "--output", output, "--json")
    assert outcome.code in {0, 3}, outcome.err
    return FinishedRun(output, outcome, outcome.json)
