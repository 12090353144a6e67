"""Kubernetes objects: rendered from an overlay, and read."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
OVERLAYS = sorted(path.name for path in (DEPLOY / "overlays").iterdir())


@cache
def render(overlay):
    """What `kubectl kustomize` makes of an overlay; skips the test where there is no kubectl."""
    return build(DEPLOY / "overlays" / overlay)


def build(folder):
    """What `kubectl kustomize` makes of a folder; skips the test where there is no kubectl."""
    beside_python = Path(sys.executable).with_name("kubectl")
    kubectl = str(beside_python) if beside_python.exists() else shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl beside Python or on the PATH")
    command = [kubectl, "kustomize", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return list(yaml.safe_load_all(run.stdout))


def named(objects, kind):
    """The objects of a kind, by name."""
    return {item["metadata"]["name"]: item for item in objects if item["kind"] == kind}


def pods(objects):
    """The pod of each object that makes pods: its labels and its spec."""
    templates = [
        item["spec"]["template"] for item in objects if item["kind"] in {"Deployment", "Job"}
    ]
    return templates + [as_pod(item) for item in objects if item["kind"] == "InferenceService"]


GATEWAY_NAMES = {"gateway", "transformer-container"}
MODEL_SERVER_NAMES = {"tf-serving", "kserve-container"}


def container(pod, names):
    """The one container of a pod that has one of these names."""
    (found,) = [each for each in pod["spec"]["containers"] if each["name"] in names]
    return found


def server(objects):
    """The pod of the gateway and the model server."""
    (found,) = [
        pod
        for pod in pods(objects)
        if GATEWAY_NAMES & {each["name"] for each in pod["spec"]["containers"]}
    ]
    return found


def as_pod(service):
    """The pod that KServe makes of an InferenceService's predictor, less KServe's own fields."""
    predictor = dict(service["spec"]["predictor"])
    model = dict(predictor.pop("model"))
    image = f"tensorflow/serving:{model.pop('runtimeVersion')}"
    for key in ("modelFormat", "protocolVersion", "storageUri"):
        del model[key]
    for key in ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout"):
        del predictor[key]
    containers = [{"name": "kserve-container", "image": image, **model}, *predictor["containers"]]
    labels = {"serving.kserve.io/inferenceservice": service["metadata"]["name"]}
    return {"metadata": {"labels": labels}, "spec": {**predictor, "containers": containers}}


def matches(selector, labels):
    """Whether a label selector of matchLabels alone takes an object with these labels."""
    return selector["matchLabels"].items() <= labels.items()
