"""The bill of materials of each container image follows CycloneDX and the lock file."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parents[2]
UV = shutil.which("uv") or shutil.which(".uv/bin/uv", path=str(ROOT)) or str(ROOT / ".uv/bin/uv")
IMAGES = ("outnumbered", "outnumbered-gpu", "outnumbered-worker", "outnumbered-gateway")

pytestmark = pytest.mark.skipif(
    not Path(UV).exists(), reason="uv, which make installs, is required"
)


def written(folder: Path) -> dict[str, str]:
    command = [sys.executable, "deploy/bill_of_materials.py", "--uv", UV, "--output", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return {name: (folder / f"{name}.cdx.json").read_text("utf-8") for name in IMAGES}


@pytest.fixture(scope="module")
def bills(tmp_path_factory):
    return written(tmp_path_factory.mktemp("bills"))


def packages(bill: str) -> set[str]:
    return {each["name"] for each in json.loads(bill)["components"]}


def with_few_addresses(bill: str) -> str:
    """The bill with the addresses of three packages only: each takes long to validate."""
    document = json.loads(bill)
    for component in document["components"][3:]:
        component.pop("externalReferences", None)
    return json.dumps(document)


def test_a_bill_is_valid_and_the_same_each_time(bills, tmp_path):
    checked = [with_few_addresses(bill) for bill in bills.values()]
    validator = JsonStrictValidator(SchemaVersion.V1_5)
    assert [validator.validate_str(bill) for bill in checked] == [None] * len(checked)
    assert written(tmp_path) == bills
    assert len({json.loads(bill)["serialNumber"] for bill in bills.values()}) == len(IMAGES)


def test_a_bill_has_the_packages_of_its_image_and_the_base(bills):
    assert {"tfx", "pillow", "python"} <= packages(bills["outnumbered"])
    assert "pytest" not in packages(bills["outnumbered"])
    gpu = packages(bills["outnumbered-gpu"]) - packages(bills["outnumbered"])
    assert gpu
    assert all(re.fullmatch("nvidia-.*", name) for name in gpu)
    worker = packages(bills["outnumbered-worker"]) - packages(bills["outnumbered"])
    assert worker == {"pip", "apache/beam_python3.11_sdk"}
    assert {"starlette", "pillow", "python"} <= packages(bills["outnumbered-gateway"])
    assert "tensorflow" not in packages(bills["outnumbered-gateway"])
