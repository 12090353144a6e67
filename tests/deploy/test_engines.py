"""The Flink cluster of deploy/engines, and the settings and the Job of a run on it."""

import tomllib
from importlib.util import find_spec
from pathlib import PurePosixPath

import pytest
import yaml
from apache_beam.options.pipeline_options import FlinkRunnerOptions
from cluster_objects import DEPLOY, FLINK_MANAGERS, as_flink_pod, container, matches, named, pods

from pipeline.beam_options import parsed
from pipeline.settings import load

SETTINGS = load(DEPLOY / "engines" / "flink" / "settings.yaml")
OPTIONS = parsed(SETTINGS.beam.options)
LOCK = tomllib.loads((DEPLOY.parent / "uv.lock").read_text())
BEAM = next(each["version"] for each in LOCK["package"] if each["name"] == "apache-beam")
POOL_PORT = 50000


@pytest.fixture
def cluster(engine):
    (found,) = named(engine, "FlinkDeployment").values()
    return found


@pytest.fixture
def task_manager(cluster):
    return as_flink_pod(cluster, "taskManager")


@pytest.fixture
def job_server(engine):
    (found,) = named(engine, "Deployment").values()
    return found["spec"]["template"]


@pytest.fixture
def run(engine):
    (job,) = [item for item in engine if item["kind"] == "Job"]
    return job["spec"]["template"]


def test_flink_and_the_job_server_are_of_one_version_that_the_locked_beam_supports(
    cluster, job_server
):
    name, _, version = container(job_server, {"job-server"})["image"].partition(":")
    assert version == BEAM
    flink = name.removeprefix("apache/beam_flink").removesuffix("_job_server")
    assert flink in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    assert cluster["spec"]["image"].startswith(f"flink:{flink}.")
    assert cluster["spec"]["flinkVersion"] == f"v{flink.replace('.', '_')}"


def test_the_settings_name_the_job_server_and_the_pool_beside_each_task_manager(
    engine, task_manager, job_server
):
    host, _, port = OPTIONS["job_endpoint"].partition(":")
    service = named(engine, "Service")[host]
    assert service["spec"]["selector"].items() <= job_server["metadata"]["labels"].items()
    assert {each["port"] for each in service["spec"]["ports"]} >= {int(port)}
    pool = container(task_manager, {"worker-pool"})
    assert OPTIONS["environment_type"] == "EXTERNAL"
    assert OPTIONS["environment_config"] == f"localhost:{POOL_PORT}"
    python, _, module = pool["command"]
    assert (python, find_spec(module) is not None) == ("python", True)
    assert pool["args"] == [f"--service_port={POOL_PORT}"]
    assert {pool[kind]["tcpSocket"]["port"] for kind in pool if "Probe" in kind} == {POOL_PORT}


def test_the_job_server_submits_to_the_service_that_the_operator_makes(cluster, job_server):
    server = container(job_server, {"job-server"})
    args = dict(arg.removeprefix("--").split("=") for arg in server["args"])
    assert args["flink-master"] == f"{cluster['metadata']['name']}-rest:8081"
    ports = {port["name"]: str(port["containerPort"]) for port in server["ports"]}
    assert ports == {"jobs": args["job-port"], "artifacts": args["artifact-port"]}
    mounts = [PurePosixPath(mount["mountPath"]) for mount in server["volumeMounts"]]
    assert any(PurePosixPath(args["artifacts-dir"]).is_relative_to(mount) for mount in mounts)


def test_as_many_bundles_run_at_a_time_as_there_are_pools(cluster):
    slots = int(cluster["spec"]["flinkConfiguration"]["taskmanager.numberOfTaskSlots"])
    assert int(OPTIONS["parallelism"]) == slots * cluster["spec"]["taskManager"]["replicas"]


def claims(pod, name):
    """Returns the claims that a container mounts, by path."""
    volumes = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    mounts = container(pod, {name})["volumeMounts"]
    return {m["mountPath"]: volumes[m["name"]] for m in mounts if m["name"] in volumes}


def test_the_pools_see_what_the_run_sees_under_the_same_paths(engine, task_manager, run):
    shared = claims(task_manager, "worker-pool")
    assert shared == claims(run, "run")
    args = container(run, {"run"})["args"]
    output = args[args.index("--output") + 1]
    for path in (SETTINGS.data.source, SETTINGS.trainer.weights, output):
        assert any(PurePosixPath(path).is_relative_to(folder) for folder in shared)
    for claim in shared.values():
        spec = named(engine, "PersistentVolumeClaim")[claim]["spec"]
        assert spec["accessModes"] == ["ReadWriteMany"]


def test_the_run_reads_the_settings_of_the_cluster(engine, run):
    (volume,) = [each for each in run["spec"]["volumes"] if "configMap" in each]
    data = named(engine, "ConfigMap")[volume["configMap"]["name"]]["data"]
    (name,) = data
    (mount,) = [m for m in container(run, {"run"})["volumeMounts"] if m["name"] == volume["name"]]
    assert f"{mount['mountPath']}/{name}" in container(run, {"run"})["args"]
    assert yaml.safe_load(data[name])["beam"]["runner"] == SETTINGS.beam.runner == "FlinkRunner"


def test_the_images_of_ours_the_account_and_the_namespace_are_the_same_everywhere(engine):
    images = {each["image"] for pod in pods(engine) for each in pod["spec"]["containers"]}
    assert len([image for image in images if "/outnumbered" in image]) == 1
    accounts = {pod["spec"]["serviceAccountName"] for pod in pods(engine)}
    assert accounts == named(engine, "ServiceAccount").keys()
    assert {item["metadata"]["namespace"] for item in engine} == {"outnumbered"}


def test_flink_needs_no_access_to_the_kubernetes_api(cluster, engine):
    assert cluster["spec"]["mode"] == "standalone"
    assert not named(engine, "RoleBinding")


def policies_on(objects, labels):
    return [
        policy["spec"]
        for policy in named(objects, "NetworkPolicy").values()
        if matches(policy["spec"]["podSelector"], labels)
    ]


def ways(objects, direction, peer):
    """The (labels of the pod, labels of the peer, port) that policies let pass in a direction."""
    found = set()
    for one in pods(objects):
        for spec in policies_on(objects, one["metadata"]["labels"]):
            for rule in spec.get(direction, []):
                for other in pods(objects):
                    if any(
                        "namespaceSelector" not in each
                        and matches(each["podSelector"], other["metadata"]["labels"])
                        for each in rule[peer]
                    ):
                        pair = role(one), role(other)
                        found |= {(*pair, port["port"]) for port in rule["ports"]}
    return found


def role(pod):
    labels = pod["metadata"]["labels"]
    return labels.get("app.kubernetes.io/component", labels["app.kubernetes.io/name"])


def test_every_pod_is_closed_and_what_one_may_send_another_may_receive(engine):
    closed = {"policyTypes": ["Ingress", "Egress"]}
    for pod in pods(engine):
        specs = policies_on(engine, pod["metadata"]["labels"])
        assert closed in [{k: v for k, v in s.items() if k != "podSelector"} for s in specs]
    sent = ways(engine, "egress", "to")
    assert sent == {(one, other, port) for other, one, port in ways(engine, "ingress", "from")}
    assert ("outnumbered-run", "outnumbered-flink-jobs", 8099) in sent
    assert ("outnumbered-flink-jobs", "job-manager", 8081) in sent
    assert ("task-manager", "task-manager", 6121) in sent


def test_nobody_reaches_the_worker_pools_from_outside_their_pod(engine):
    for policy in named(engine, "NetworkPolicy").values():
        for rule in [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]:
            assert POOL_PORT not in {port["port"] for port in rule["ports"]}
            assert rule.get("from") or rule.get("to")


def test_the_ports_of_flink_are_fixed_and_allowed(cluster, engine):
    configuration = cluster["spec"]["flinkConfiguration"]
    fixed = {int(value) for key, value in configuration.items() if key.endswith("port")}
    flink = named(engine, "NetworkPolicy")["outnumbered-flink"]["spec"]
    (rule,) = flink["ingress"]
    jobs_rpc = 6123
    assert {port["port"] for port in rule["ports"]} == fixed | {jobs_rpc}
    probed = [
        each["tcpSocket"]["port"]
        for manager in FLINK_MANAGERS
        for kind, each in container(
            as_flink_pod(cluster, manager), {"flink-main-container"}
        ).items()
        if "Probe" in kind
    ]
    assert set(probed) <= fixed | {jobs_rpc, 8081}
