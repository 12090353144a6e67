"""The instructions of the Dockerfiles, checked without a build."""

import re
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


def test_a_build_without_a_target_builds_the_cpu_image():
    assert list(stages())[-1] == "cpu"


@pytest.mark.parametrize("dockerfile", ["Dockerfile", GATEWAY])
def test_the_runtime_stage_installs_nothing_and_does_not_run_as_root(dockerfile):
    text = "\n".join(stages(dockerfile)["runtime"])
    assert not re.search(r"apt-get|pip install|uv sync", text)
    assert re.search(r"^USER [1-9]\d*:\d+$", text, re.MULTILINE)


def test_packages_are_installed_from_the_lock_file_without_the_dev_group():
    syncs = [line for lines in stages().values() for line in lines if "uv sync" in line]
    assert len(syncs) == 4
    assert all("--frozen" in line and "--no-dev" in line for line in syncs)
    assert all("--extra gpu" in line for line in stages()["build-gpu"] if "uv sync" in line)


def test_the_gateway_image_contains_only_its_dependency_group_and_its_own_code():
    (sync,) = [line for line in stages(GATEWAY)["build"] if "uv sync" in line]
    assert "--frozen" in sync
    assert "--only-group gateway" in sync
    assert copied("build", GATEWAY) == [
        ["pyproject.toml", "uv.lock"],
        ["components/__init__.py"],
        ["components/images"],
        ["deploy/gateway/gateway"],
    ]
    assert copied("runtime", GATEWAY) == [
        ["--from=build", "/opt/gateway"],
        ["--from=build", "/app"],
    ]


def test_the_gateway_dependency_group_does_not_include_tensorflow():
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    packages = {package["name"]: package for package in lock["package"]}
    waiting = [item["name"] for item in packages["outnumbered"]["dev-dependencies"]["gateway"]]
    found = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [item["name"] for item in packages[name].get("dependencies", [])]
    assert {"starlette", "uvicorn", "grpcio", "pillow", "prometheus-client"} <= found
    assert not any(name.startswith(("tensorflow", "tfx", "keras")) for name in found)
    assert len(found) < 16


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
