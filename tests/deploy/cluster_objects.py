"""Renders the overlays and finds Kubernetes objects in them."""

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
    """Renders an overlay with `kubectl kustomize`; skips the test if kubectl is not installed."""
    return build(DEPLOY / "overlays" / overlay)


def build(folder):
    """Renders a folder with `kubectl kustomize`; skips the test if kubectl is not installed."""
    in_environment = Path(sys.executable).with_name("kubectl")
    kubectl = str(in_environment) if in_environment.exists() else shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is neither in the folder of Python nor on the PATH")
    command = [kubectl, "kustomize", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return list(yaml.safe_load_all(run.stdout))


def named(objects, kind):
    """Returns the objects of a kind, by name."""
    return {item["metadata"]["name"]: item for item in objects if item["kind"] == kind}


def pods(objects):
    """Returns the pod template, with labels and spec, of each object that creates pods."""
    templates = [
        item["spec"]["template"] for item in objects if item["kind"] in {"Deployment", "Job"}
    ]
    templates += [as_pod(item) for item in objects if item["kind"] == "InferenceService"]
    clusters = [item for item in objects if item["kind"] == "FlinkDeployment"]
    return templates + [as_flink_pod(item, of) for item in clusters for of in FLINK_MANAGERS]


FLINK_MANAGERS = ("jobManager", "taskManager")


GATEWAY_NAMES = {"gateway", "transformer-container"}
MODEL_SERVER_NAMES = {"tf-serving", "kserve-container"}


def containers(pod):
    """Returns the containers of a pod, those that run before the others first."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def container(pod, names):
    """Returns the only container of a pod with one of these names."""
    (found,) = [each for each in pod["spec"]["containers"] if each["name"] in names]
    return found


def server(objects):
    """Returns the pod of the gateway and the model server."""
    (found,) = [
        pod
        for pod in pods(objects)
        if GATEWAY_NAMES & {each["name"] for each in pod["spec"]["containers"]}
    ]
    return found


def as_pod(service):
    """Returns the pod that KServe creates for a predictor, without KServe's own fields."""
    predictor = dict(service["spec"]["predictor"])
    model = dict(predictor.pop("model"))
    image = f"tensorflow/serving:{model.pop('runtimeVersion')}"
    for key in ("modelFormat", "protocolVersion"):
        del model[key]
    for key in ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout"):
        del predictor[key]
    containers = [{"name": "kserve-container", "image": image, **model}, *predictor["containers"]]
    labels = {"serving.kserve.io/inferenceservice": service["metadata"]["name"]}
    return {"metadata": {"labels": labels}, "spec": {**predictor, "containers": containers}}


def as_flink_pod(cluster, manager):
    """Returns the pod that Flink's operator creates for a job manager or a task manager.

    To the main container of the template it adds the image, the command and the resources.
    """
    spec = cluster["spec"]
    asked = spec[manager]["resource"]
    amount = {"cpu": str(asked["cpu"]), "memory": asked["memory"].replace("m", "Mi")}
    added = {"image": spec["image"], "resources": {"requests": amount, "limits": amount}}
    template = spec[manager]["podTemplate"]
    found = [
        {**each, **added} if each["name"] == "flink-main-container" else each
        for each in template["spec"]["containers"]
    ]
    account = {"serviceAccountName": spec["serviceAccount"]}
    return {**template, "spec": {**template["spec"], **account, "containers": found}}


def matches(selector, labels):
    """Returns whether a selector, of matchLabels only, selects an object with these labels."""
    return selector["matchLabels"].items() <= labels.items()
