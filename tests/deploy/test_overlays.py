"""Each overlay renders to objects that are valid by their schemas and consistent."""

import json
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
from cluster_objects import GATEWAY_NAMES, as_pod, container, matches, named, pods, server

from gateway.settings import Settings

SCHEMAS = Path(__file__).with_name("schemas")
CUSTOM_KINDS = sorted(path.stem for path in SCHEMAS.glob("*.json"))
# The oldest supported version and a recent one.
KUBERNETES_VERSIONS = ("1.30", "1.34")


def check(item, version):
    """Validates an object with the schema of Kubernetes or of its custom kind."""
    if item["kind"] in CUSTOM_KINDS:
        schema = json.loads((SCHEMAS / f"{item['kind']}.json").read_text())
        jsonschema.validate(item, schema)
    else:
        kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_the_schemas_accept_every_object(rendered, version):
    for item in rendered:
        check(item, version)


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_the_schemas_accept_the_manual_jobs_and_the_engine(jobs, engine, version):
    for item in jobs + engine:
        check(item, version)


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_the_pods_of_the_managers_of_flink_are_valid(engine, version):
    for pod in pods(engine):
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "Pod", **pod}, version, strict=True
        )


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_the_pod_fields_of_an_inference_service_are_a_valid_pod(rendered, version):
    for service in named(rendered, "InferenceService").values():
        pod = {"apiVersion": "v1", "kind": "Pod", **as_pod(service)}
        kubernetes_validate.validate(pod, version, strict=True)


def test_a_misspelt_field_is_refused(rendered, engine):
    for item in rendered + engine:
        wrong = json.loads(json.dumps(item))
        wrong["spec" if "spec" in item else "metadata"]["minReplica"] = 1
        with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
            check(wrong, KUBERNETES_VERSIONS[0])


def test_every_object_is_in_the_namespace_of_the_runs(rendered, jobs):
    assert {item["metadata"]["namespace"] for item in rendered + jobs} == {"kubeflow"}


def test_no_two_objects_have_the_same_kind_and_name(rendered):
    names = [(item["kind"], item["metadata"]["name"]) for item in rendered]
    assert len(names) == len(set(names))


def test_the_accounts_claims_and_config_maps_of_pods_exist(rendered, jobs):
    accounts, claims = named(rendered, "ServiceAccount"), named(rendered, "PersistentVolumeClaim")
    config_maps = named(rendered, "ConfigMap")
    # The Jobs are for a registry on a volume only.
    for pod in pods(rendered + (jobs if claims else [])):
        assert pod["spec"]["serviceAccountName"] in accounts
        for volume in pod["spec"]["volumes"]:
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            if "configMap" in volume:
                assert volume["configMap"]["name"] in config_maps


def test_many_nodes_can_write_and_read_a_registry_on_a_volume(rendered):
    for claim in named(rendered, "PersistentVolumeClaim").values():
        assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_an_overlay_with_the_registry_in_a_bucket_has_no_volume_that_pods_share(rendered):
    env = {i["name"]: i["value"] for i in container(server(rendered), GATEWAY_NAMES)["env"]}
    in_bucket = "://" in env["OUTNUMBERED_GATEWAY_REGISTRY"]
    assert bool(named(rendered, "PersistentVolumeClaim")) != in_bucket
    volumes = [volume for pod in pods(rendered) for volume in pod["spec"]["volumes"]]
    assert any("persistentVolumeClaim" in volume for volume in volumes) != in_bucket


def test_exactly_one_model_server_reads_the_registry(rendered):
    servers = {**named(rendered, "Deployment"), **named(rendered, "InferenceService")}
    assert len(servers) == 1
    assert "cats-vs-dogs" in json.dumps(list(servers.values()))


def test_services_monitors_and_budgets_select_the_server(rendered):
    labels = server(rendered)["metadata"]["labels"]
    for kind in ("PodMonitor", "PodDisruptionBudget"):
        for item in named(rendered, kind).values():
            assert matches(item["spec"]["selector"], labels)
    services = named(rendered, "Service").values()
    assert all(service["spec"]["selector"].items() <= labels.items() for service in services)
    for monitor in named(rendered, "ServiceMonitor").values():
        selector = monitor["spec"]["selector"]
        assert any(matches(selector, service["metadata"]["labels"]) for service in services)


def test_services_and_monitors_use_the_port_of_the_gateway(rendered):
    gateway = container(server(rendered), GATEWAY_NAMES)
    ports = {port["name"] for port in gateway["ports"]}
    services = named(rendered, "Service").values()
    for service in services:
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    offered = {port["name"] for service in services for port in service["spec"]["ports"]}
    for monitor in named(rendered, "ServiceMonitor").values():
        for endpoint in monitor["spec"]["endpoints"]:
            assert (endpoint["port"] in offered, endpoint["path"]) == (True, "/metrics")
    for monitor in named(rendered, "PodMonitor").values():
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert (endpoint["portNumber"], endpoint["path"]) == (Settings.port, "/metrics")
