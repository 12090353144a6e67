"""The settings of each overlay are valid and match the objects of the overlay."""

import json
import re
from pathlib import PurePosixPath

import pytest
from cluster_objects import (
    DEPLOY,
    GATEWAY_NAMES,
    MODEL_SERVER_NAMES,
    container,
    containers,
    named,
    pods,
    render,
    server,
)
from keras.src.applications.xception import WEIGHTS_PATH_NO_TOP as WEIGHTS_URL

from gateway.metrics import Metrics
from gateway.settings import PREFIX
from pipeline.kubeflow.settings import STEP_LABEL
from pipeline.settings import load

SETTINGS_OF = {"plain-gpu": "cats_vs_dogs", "cloud-gpu": "cats_vs_dogs_cloud"}


@pytest.fixture(params=sorted(SETTINGS_OF))
def deployed(request):
    """Settings, and the objects of their overlay."""
    settings = load(DEPLOY / "settings" / f"{SETTINGS_OF[request.param]}.yaml")
    return settings, render(request.param)


def test_each_overlay_has_settings_and_each_settings_file_an_overlay():
    assert {path.name for path in (DEPLOY / "overlays").iterdir()} == SETTINGS_OF.keys()
    stems = {path.stem for path in (DEPLOY / "settings").iterdir()}
    assert stems == set(SETTINGS_OF.values())


def test_the_account_the_claims_and_the_namespace_exist(deployed):
    settings, objects = deployed
    kubeflow = settings.kubeflow
    account = named(objects, "ServiceAccount")[kubeflow.service_account]
    assert account["metadata"]["namespace"] == kubeflow.namespace
    claims = named(objects, "PersistentVolumeClaim")
    assert {volume.claim for volume in kubeflow.volumes} <= claims.keys()


def test_the_steps_can_read_exactly_the_secrets_of_the_settings(deployed):
    settings, objects = deployed
    role = named(objects, "Role")[settings.kubeflow.service_account]
    readable = {
        name
        for rule in role["rules"]
        if "secrets" in rule["resources"]
        for name in rule["resourceNames"]
    }
    assert readable == {secret.name for secret in settings.kubeflow.secrets}


def test_the_images_of_the_settings_are_those_of_the_overlay(deployed):
    settings, objects = deployed
    images = {each["image"] for pod in pods(objects) for each in containers(pod)}
    name, _, tag = settings.kubeflow.image.rpartition(":")
    ours = {settings.kubeflow.image, f"{name}-gateway:{tag}"}
    assert {image for image in images if "outnumbered" in image} <= ours
    assert container(server(objects), GATEWAY_NAMES)["image"] == f"{name}-gateway:{tag}"
    assert settings.kubeflow.gpu_image == f"{settings.kubeflow.image}-gpu"


def test_models_are_pushed_to_the_registry_that_the_gateway_reads(deployed):
    settings, objects = deployed
    gateway = container(server(objects), GATEWAY_NAMES)
    (read,) = [item["value"] for item in gateway["env"] if item["name"] == f"{PREFIX}REGISTRY"]
    if "://" in settings.pusher.registry:
        assert read == settings.pusher.registry
        assert not settings.kubeflow.volumes
        return
    registry = PurePosixPath(settings.pusher.registry)
    (volume,) = [v for v in settings.kubeflow.volumes if registry.is_relative_to(v.path)]
    (job,) = named(objects, "Job").values()
    (maker,) = job["spec"]["template"]["spec"]["containers"]
    assert str(registry) in maker["command"]
    folder = str(registry.relative_to(volume.path))
    for holder in (gateway, container(server(objects), MODEL_SERVER_NAMES)):
        assert mounted(objects, holder, read) == (volume.claim, folder)


def test_the_account_of_the_model_servers_is_another_one_than_that_of_the_steps(deployed):
    settings, objects = deployed
    accounts = named(objects, "ServiceAccount")
    steps, serving = (
        accounts[name]["metadata"].get("annotations")
        for name in (settings.kubeflow.service_account, "outnumbered-serving")
    )
    if "://" in settings.pusher.registry:
        assert steps.keys() == serving.keys() == {"iam.gke.io/gcp-service-account"}
        assert steps != serving
    else:
        assert serving is None


def test_the_folders_belong_to_the_user_who_writes_and_the_image_knows_both_users(deployed):
    settings, objects = deployed
    users = settings.kubeflow.users
    for job in named(objects, "Job").values():
        assert job["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == users.writer
    dockerfile = (DEPLOY.parent / "Dockerfile").read_text()
    assert f":x:{users.writer}:0:" in dockerfile
    assert f":x:{users.reader}:{users.reader}:" in dockerfile
    assert f"USER {users.writer}:0" in dockerfile


def mounted(objects, holder, path):
    """Returns the claim, and the folder in it, that a container of the server mounts at a path."""
    (mount,) = [mount for mount in holder["volumeMounts"] if mount["mountPath"] == path]
    (volume,) = [v for v in server(objects)["spec"]["volumes"] if v["name"] == mount["name"]]
    return volume["persistentVolumeClaim"]["claimName"], mount["subPath"]


def test_weights_on_a_volume_are_at_the_path_that_the_job_writes(deployed, jobs):
    settings, _ = deployed
    if settings.kubeflow.volumes:
        arguments = [arg for job in pods(jobs) for arg in job["spec"]["containers"][0]["args"]]
        assert settings.trainer.weights in arguments


def test_without_a_volume_the_weights_are_downloaded_from_the_store_that_the_steps_reach(deployed):
    settings, objects = deployed
    if not settings.kubeflow.volumes:
        assert settings.trainer.weights == "imagenet"
        assert WEIGHTS_URL.startswith("https://storage.googleapis.com/")
        policy = json.dumps(named(objects, "NetworkPolicy")["outnumbered-steps-object-store"])
        assert "199.36.153.8/30" in policy  # private.googleapis.com


def test_the_quota_allows_the_gpus_that_a_step_requests(deployed):
    settings, objects = deployed
    (quota,) = named(objects, "ResourceQuota").values()
    gpu = settings.kubeflow.gpu
    assert int(quota["spec"]["hard"][f"requests.{gpu.accelerator}"]) >= gpu.count > 0


def test_gpu_steps_are_scheduled_on_gpu_nodes(deployed):
    gpu = deployed[0].kubeflow.gpu
    assert gpu.node_selector
    assert gpu.accelerator in {toleration.key for toleration in gpu.tolerations}


def test_the_steps_can_reach_the_object_store(deployed):
    settings, objects = deployed
    policy = json.dumps(named(objects, "NetworkPolicy")["outnumbered-steps-object-store"])
    in_cluster = settings.kubeflow.pipeline_root.startswith("minio://")
    assert ("seaweedfs" in policy) == in_cluster
    assert bool(settings.kubeflow.secrets) == in_cluster


def test_alerts_watch_the_pods_of_the_pipeline_and_the_served_model(deployed):
    settings, objects = deployed
    (rule,) = named(objects, "PrometheusRule").values()
    text = json.dumps(rule)
    patterns = set(re.findall(r'owner_name=~\\"([^"\\]+)\\"', text))
    assert patterns
    # A submitted run, and a scheduled run, whose name has a suffix without a hyphen.
    for workflow in (f"{settings.name}-x7k2p", f"{settings.name}x7k2p-1-812"):
        assert all(re.fullmatch(pattern, workflow) for pattern in patterns)
    assert f"label_{STEP_LABEL.replace('-', '_')}" in text
    queried = set(re.findall(r"outnumbered_gateway_\w+", text))
    exposed = Metrics().text().decode()
    assert queried
    assert all(f"# HELP {name.removesuffix('_bucket')} " in exposed for name in queried)
    assert settings.kubeflow.schedule.cron == "0 0 3 * * *"  # daily, as the alert's 26 hours assume
