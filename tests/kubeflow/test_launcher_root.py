"""A compiled pipeline on a run whose request names no pipeline root, and its cache key."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from launcher import Cluster, StepFailedError
from receivers import HttpReceiver
from store_on_localhost import ARTIFACTS

from pipeline.kubeflow.compile import compile_pipeline
from pipeline.settings import parse


def compiled(tree: dict[str, Any], path: Path, **kubeflow: Any) -> Path:
    section = {**tree["kubeflow"], "retries": {"count": 0}, **kubeflow}
    return compile_pipeline(parse({**tree, "kubeflow": section}, origin="test"), path)


@pytest.fixture
def package(tree: dict[str, Any], tmp_path: Path) -> Path:
    return compiled(tree, tmp_path / "small.yaml")


@pytest.mark.parametrize("step", ["ChampionFinder", "ImageExampleGen"])
def test_the_first_steps_fail_on_a_run_without_a_pipeline_root(
    cluster: Cluster, package: Path, step: str
):
    cluster.default_root = f"minio://{ARTIFACTS}/v2"
    with pytest.raises(StepFailedError) as caught:
        cluster.run_step(package, step, {})
    error = str(caught.value)
    assert "the run was created without its pipeline root" in error
    assert "outnumbered kubeflow submit" in error
    assert "Required: 's3://artifacts/root'. Received: 'minio://artifacts/v2/small/" in error


def test_the_reason_of_the_first_steps_is_told(
    cluster: Cluster, tree: dict[str, Any], tmp_path: Path
):
    cluster.default_root = f"minio://{ARTIFACTS}/v2"
    names = {"OUTNUMBERED_WEBHOOK_URL": "url"}
    secrets = [
        *tree["kubeflow"]["secrets"],
        {"name": "n", "env": names, "steps": ["Notifier"]},
    ]
    package = compiled(
        {**tree, "notifications": {"webhook": {}}}, tmp_path / "a.yaml", secrets=secrets
    )
    with HttpReceiver() as receiver:
        cluster.secrets = {**cluster.secrets, "n": {"url": receiver.url}}
        with pytest.raises(StepFailedError):
            cluster.run(package)
    ((_, _, body),) = receiver.requests
    failures = json.loads(body)["failures"]
    assert [failure["step"] for failure in failures] == ["ChampionFinder", "ImageExampleGen"]
    for failure in failures:
        assert failure["reason"].startswith(
            f"{failure['step']} failed: the run was created without its pipeline root"
        )


def test_a_root_that_only_begins_like_the_parameter_is_another_one(cluster: Cluster, package: Path):
    with pytest.raises(StepFailedError, match="Required: 's3://artifacts/roo'"):
        cluster.run_step(package, "ChampionFinder", {}, {"pipeline_root": "s3://artifacts/roo"})


def test_a_run_with_another_root_and_the_same_parameter_starts(cluster: Cluster, package: Path):
    root = f"s3://{ARTIFACTS}/another"
    found = cluster.run_step(
        package, "ChampionFinder", {}, {"pipeline_root": f"{root}/"}, pipeline_root=root
    )
    assert found.outputs["champion"]["uri"].startswith(f"{root}/small/")


def test_a_changed_variable_is_not_served_from_the_cache(
    cluster: Cluster, tree: dict[str, Any], tmp_path: Path
):
    cluster.start = lambda command, folder, environment, log: subprocess.Popen(
        ["touch", str(log)], cwd=folder
    )
    examples = {"name": "1", "uri": f"s3://{ARTIFACTS}/no/examples", "metadata": {}}
    env = tree["kubeflow"]["env"]
    changed = {**env, "AWS_DEFAULT_REGION": "eu-west-1"}

    def is_cached(variables: dict[str, str]) -> bool:
        package = compiled(tree, tmp_path / "small.yaml", env=variables)
        made = {"ImageExampleGen": {"examples": examples}}
        return cluster.run_step(package, "StatisticsGen", made).cached

    assert [is_cached(of) for of in (env, env, changed, env)] == [False, True, False, True]
