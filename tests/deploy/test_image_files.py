"""The instructions of the Dockerfiles, checked without a build."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]


GATEWAY = "deploy/gateway/Dockerfile"


def stages(dockerfile="Dockerfile"):
    """Returns the instructions of each stage, by its name, with continued lines joined."""
    text = (ROOT / dockerfile).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found, name = {}, ""
    for line in lines:
        if line.startswith("FROM "):
            name = line.split(" AS ")[1]
            found[name] = []
        elif name:
            found[name].append(line)
    return found


def copied(stage, dockerfile="Dockerfile"):
    return [line.split()[1:-1] for line in stages(dockerfile)[stage] if line.startswith("COPY")]


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_a_target_adds_only_the_environment_to_the_runtime_stage(target):
    assert copied(target) == [[f"--from=build-{target}", "/opt/outnumbered"]]
    assert not any(line.startswith("RUN") for line in stages()[target])
    assert f"FROM runtime AS {target}" in (ROOT / "Dockerfile").read_text()


def test_the_worker_target_adds_beams_program_with_its_licences_and_pip():
    text = (ROOT / "Dockerfile").read_text()
    (image,) = re.findall(r"^ARG BEAM=(.*)$", text, re.MULTILINE)
    lock = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    beam = next(each["version"] for each in lock if each["name"] == "apache-beam")
    assert image == f"apache/beam_python3.11_sdk:{beam}"
    assert "FROM ${BEAM} AS beam" in text
    assert stages()["beam"] == []
    environment, program = copied("worker")
    assert environment == ["--from=build-worker", "/opt/outnumbered"]
    assert program[0] == "--from=beam"
    folder = "/opt/apache/beam"
    assert {f"{folder}/boot", f"{folder}/LICENSE", f"{folder}/NOTICE"} <= {*program[1:]}
    assert f'ENTRYPOINT ["{folder}/boot"]' in stages()["worker"]
    # In an environment of its own, a worker would not find what is in the image's.
    assert "ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1" in stages()["worker"]
    (sync,) = [line for line in stages()["build-worker"] if "uv sync" in line]
    assert "--group worker" in sync
    assert "FROM runtime AS worker" in text


def test_a_build_without_a_target_builds_the_cpu_image():
    assert list(stages())[-1] == "cpu"


@pytest.mark.parametrize("dockerfile", ["Dockerfile", GATEWAY])
def test_the_runtime_stage_installs_nothing_and_does_not_run_as_root(dockerfile):
    text = "\n".join(stages(dockerfile)["runtime"])
    assert not re.search(r"apt-get|pip install|uv sync", text)
    assert re.search(r"^USER [1-9]\d*:\d+$", text, re.MULTILINE)


def test_packages_are_installed_from_the_lock_file_without_the_dev_group():
    syncs = [line for lines in stages().values() for line in lines if "uv sync" in line]
    assert len(syncs) == 5
    assert all("--frozen" in line and "--no-dev" in line for line in syncs)
    assert all("--extra gpu" in line for line in stages()["build-gpu"] if "uv sync" in line)


def gateway_sources():
    """The files and folders of the project that the gateway's image contains."""
    _, *copies = copied("build", GATEWAY)
    return [name for names in copies for name in names]


def test_the_gateway_image_contains_only_its_dependency_groups_and_its_own_code():
    (sync,) = [line for line in stages(GATEWAY)["build"] if "uv sync" in line]
    assert "--frozen" in sync
    assert "--only-group gateway" in sync
    assert copied("build", GATEWAY)[0] == ["pyproject.toml", "uv.lock"]
    assert {name for name in gateway_sources() if "/" in name and "." not in name} == {
        "components/images",
        "components/registry",
        "deploy/gateway/gateway",
    }
    assert copied("runtime", GATEWAY) == [
        ["--from=build", "/opt/gateway"],
        ["--from=build", "/app"],
    ]


def packages_of(*groups):
    """The packages of dependency groups with all that they require, by the lock file."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    packages = {package["name"]: package for package in lock["package"]}
    by_group = packages["outnumbered"]["dev-dependencies"]
    waiting = [item for group in groups for item in by_group[group]]
    found = set()
    while waiting:
        item = waiting.pop()
        package = packages[item["name"]]
        for extra in item.get("extra", []):
            waiting += package["optional-dependencies"][extra]
        if item["name"] not in found:
            found.add(item["name"])
            waiting += package.get("dependencies", [])
    return found


def test_the_gateway_dependency_groups_do_not_include_tensorflow():
    found = packages_of("gateway")
    assert {"starlette", "uvicorn", "grpcio", "pillow", "prometheus-client"} <= found
    assert len(found) < 20
    with_stores = packages_of("gateway", "gateway-s3", "gateway-gcs")
    assert {"boto3", "google-cloud-storage"} <= with_stores - found
    assert not any(name.startswith(("tensorflow", "tfx", "keras")) for name in with_stores)
    assert len(with_stores) < 48


def test_the_clients_of_stores_that_the_gateway_image_can_contain_are_the_groups():
    text = (ROOT / GATEWAY).read_text()
    (stores,) = re.findall(r'^ARG STORES="(.*)"$', text, re.MULTILINE)
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert {f"gateway-{store}" for store in stores.split()} == {
        name for name in groups if name.startswith("gateway-")
    }


IMPORT_THE_GATEWAY = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"tfx", "tensorflow", "keras", "apache_beam", "pipeline"}:
            raise ModuleNotFoundError(f"{name} is not in the image")
sys.meta_path.insert(0, Absent())
import gateway.app, gateway.server, gateway.model_config, components.stores
from components.registry import VersionRecord, open_registry
for root in ("s3://bucket/registry", "gs://bucket/registry"):
    open_registry(root)
registry = open_registry("registry")
registry.push("model", lambda number: VersionRecord(version=number))
assert registry.fetch(registry.serving(), "copies").samefile("registry/1")
print(sorted({module.__file__ for name, module in sys.modules.items()
              if name.partition(".")[0] in {"gateway", "components"} and module.__file__}))
"""


def test_the_gateway_image_contains_all_code_that_the_gateway_runs(tmp_path):
    app = tmp_path / "app"
    for name in gateway_sources():
        target = app / name.removeprefix("deploy/gateway/")
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_text("graph")
    command = [sys.executable, "-P", "-c", IMPORT_THE_GATEWAY]
    environment = {"PYTHONPATH": str(app), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    imported = [Path(name) for name in ast.literal_eval(done.stdout)]
    assert imported
    assert all(path.is_relative_to(app) for path in imported)


def test_the_build_context_contains_exactly_what_the_dockerfiles_copy():
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    admitted = {line[1:] for line in ignore if line.startswith("!")}
    builds = [line for name in stages() if name.startswith("build") for line in copied(name)]
    sources = {name for line in builds for name in line}
    gateway = {name for line in copied("build", GATEWAY) for name in line}
    assert "*" in ignore
    assert admitted == sources | {name for name in gateway if name.startswith("deploy/")}
    assert all((ROOT / name).exists() for name in sources | gateway)
    assert all(any(Path(name).is_relative_to(top) for top in admitted) for name in gateway)


def bounds(requirements):
    """Returns the version bounds of each package, normalized: 13 equals 13.0."""
    return {
        item.name: {(bound.operator, Version(bound.version)) for bound in item.specifier}
        for item in requirements
    }


def test_the_gpu_extra_equals_tensorflows_extra_and_cuda():
    optional = [item for item in map(Requirement, requires("tensorflow")) if item.marker]
    with_cuda = [item for item in optional if item.marker.evaluate({"extra": "and-cuda"})]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = map(Requirement, project["optional-dependencies"]["gpu"])
    assert bounds(ours) == bounds(
        item for item in with_cuda if not item.marker.evaluate({"extra": ""})
    )
