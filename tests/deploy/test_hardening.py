"""Deployed objects have only the permissions and network access that they require."""

import os
import re
from ipaddress import ip_network
from pathlib import PurePosixPath

import kubernetes_validate
import pytest
import yaml
from cluster_objects import (
    DEPLOY,
    GATEWAY_NAMES,
    MODEL_SERVER_NAMES,
    OVERLAYS,
    build,
    container,
    containers,
    matches,
    named,
    pods,
    server,
)

from components.registry.signing import VERIFY_KEY
from gateway.guard import OPEN_PATHS
from gateway.server import SHUTDOWN_SECONDS
from gateway.settings import PREFIX, Settings, from_environment
from pipeline.kubeflow.exit_handler import STEP
from pipeline.kubeflow.settings import STEP_LABEL

STEP_LABELS = {"pipelines.kubeflow.org/v2_component": "true"}


def every_container(objects):
    return [(pod["spec"], each) for pod in pods(objects) for each in containers(pod)]


def test_every_container_has_a_restricted_security_context(rendered, jobs, engine):
    for pod, each in every_container(rendered + jobs + engine):
        context = each["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert not context.get("privileged")
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert not any("hostPath" in volume for volume in pod["volumes"])


def test_every_container_has_requests_and_limits(rendered, jobs, engine):
    for _, each in every_container(rendered + jobs + engine):
        for kind in ("requests", "limits"):
            assert each["resources"][kind].keys() == {"cpu", "memory"}


def is_pinned(image):
    """Whether an image has a digest, or a tag other than latest."""
    name, _, version = image.rpartition("@" if "@" in image else ":")
    is_digest = re.fullmatch(r"sha256:[0-9a-f]{64}", version)
    return bool(name) and bool(is_digest or re.fullmatch(r"(?!latest$)[\w][\w.-]*", version))


def test_an_overlay_may_give_digests(tmp_path):
    digest = "sha256:" + "0123456789abcdef" * 4
    given = {
        "resources": [os.path.relpath(DEPLOY / "overlays" / "plain-gpu", tmp_path)],
        "images": [
            {"name": f"registry.example.com/{name}", "digest": digest}
            for name in ("outnumbered", "outnumbered-gateway")
        ],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(given))
    images = {each["image"] for _, each in every_container(build(tmp_path))}
    ours = {image for image in images if image.startswith("registry.example.com/")}
    assert ours == {
        f"registry.example.com/{name}@{digest}" for name in ("outnumbered", "outnumbered-gateway")
    }
    assert all(is_pinned(image) for image in images)
    assert not is_pinned("registry.example.com/outnumbered@sha256:0123")


def test_every_image_has_an_explicit_tag_or_digest(rendered, jobs, engine):
    for _, each in every_container(rendered + jobs + engine):
        assert is_pinned(each["image"])


def test_no_deployed_pod_can_run_on_a_gpu_node(rendered, jobs, engine):
    for pod, each in every_container(rendered + jobs + engine):
        assert "tolerations" not in pod
        assert "nodeSelector" not in pod
        assert not any("gpu" in key for key in each["resources"]["limits"])


def test_no_pod_mounts_a_service_account_token(rendered, jobs, engine):
    for pod, _ in every_container(rendered + jobs + engine):
        assert pod["automountServiceAccountToken"] is False


def test_the_manifests_contain_no_secret(rendered, jobs, engine):
    assert not named(rendered + jobs + engine, "Secret")


def test_roles_have_no_wildcards(rendered):
    roles = named(rendered, "Role")
    assert roles
    assert not named(rendered, "ClusterRole")
    for rule in [rule for role in roles.values() for rule in role["rules"]]:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        if {"secrets", "configmaps"} & set(rule["resources"]):
            assert rule["verbs"] == ["get"]
            assert rule["resourceNames"]


def test_roles_are_bound_to_existing_accounts(rendered):
    roles, accounts = named(rendered, "Role"), named(rendered, "ServiceAccount")
    for binding in named(rendered, "RoleBinding").values():
        assert binding["roleRef"]["name"] in roles
        for subject in binding["subjects"]:
            assert subject["name"] in accounts
            assert subject["namespace"] == "kubeflow"


def test_the_account_of_the_model_servers_has_no_role(rendered):
    bindings = named(rendered, "RoleBinding").values()
    subjects = {subject["name"] for binding in bindings for subject in binding["subjects"]}
    assert "outnumbered-serving" not in subjects


def policies_on(objects, labels):
    return [
        policy["spec"]
        for policy in named(objects, "NetworkPolicy").values()
        if matches(policy["spec"]["podSelector"], labels)
    ]


def test_steps_have_allowed_egress_only_and_no_ingress(rendered):
    specs = policies_on(rendered, STEP_LABELS)
    assert {"policyTypes": ["Ingress", "Egress"]} in [
        {key: value for key, value in spec.items() if key != "podSelector"} for spec in specs
    ]
    assert not any("ingress" in spec for spec in specs)
    ports = {
        port["port"] for spec in specs for rule in spec.get("egress", []) for port in rule["ports"]
    }
    assert {53, 443, 8887} <= ports


def test_every_policy_rule_names_ports_and_peers(rendered):
    for policy in named(rendered, "NetworkPolicy").values():
        for rule in policy["spec"].get("egress", []) + policy["spec"].get("ingress", []):
            assert rule["ports"]
            assert rule.get("to") or rule.get("from")


def peers(objects):
    """Every `from` and `to` of a policy."""
    for policy in named(objects, "NetworkPolicy").values():
        for rule in policy["spec"].get("egress", []) + policy["spec"].get("ingress", []):
            yield from [*rule.get("to", []), *rule.get("from", [])]


def test_no_policy_opens_more_than_a_few_addresses(rendered):
    blocks = [ip_network(peer["ipBlock"]["cidr"]) for peer in peers(rendered) if "ipBlock" in peer]
    assert blocks
    assert all(block.num_addresses <= 4 for block in blocks)


def test_pods_are_let_in_by_their_namespace_and_their_own_label(rendered):
    for policy in named(rendered, "NetworkPolicy").values():
        for rule in policy["spec"].get("ingress", []):
            for peer in rule["from"]:
                assert peer["namespaceSelector"]["matchLabels"]
                assert peer["podSelector"]["matchLabels"]


def test_the_steps_reach_the_kubernetes_api_at_the_overlays_address_alone(rendered):
    policy = named(rendered, "NetworkPolicy")["outnumbered-steps-kubernetes-api"]
    (rule,) = policy["spec"]["egress"]
    assert rule["to"] == [{"ipBlock": {"cidr": "192.0.2.1/32"}}]
    for name in OVERLAYS:
        assert "192.0.2.1/32" in (DEPLOY / "overlays" / name / "kustomization.yaml").read_text()


def test_each_deployed_pod_has_a_policy_that_denies_egress_except_to_a_bucket(rendered):
    bucket = named(rendered, "NetworkPolicy")["outnumbered-steps-object-store"]["spec"]["egress"]
    for pod in pods(rendered):
        specs = policies_on(rendered, pod["metadata"]["labels"])
        assert {"podSelector", "policyTypes", "ingress"} >= specs[0].keys()
        assert all("Egress" in spec["policyTypes"] for spec in specs)
        allowed = [rule for spec in specs for rule in spec.get("egress", [])]
        assert bool(allowed) == (reads_a_bucket(pod))
        assert all(rule in bucket or is_dns(rule) for rule in allowed)


def reads_a_bucket(pod):
    env = [item for each in pod["spec"]["containers"] for item in each.get("env", [])]
    return any(item["name"] == f"{PREFIX}REGISTRY" and "://" in item["value"] for item in env)


def is_dns(rule):
    return {port["port"] for port in rule["ports"]} == {53}


@pytest.mark.parametrize("names", [GATEWAY_NAMES, MODEL_SERVER_NAMES])
def test_probes_use_paths_that_require_no_token(rendered, names):
    probes = {
        kind: probe for kind, probe in container(server(rendered), names).items() if "Probe" in kind
    }
    assert "livenessProbe" in probes
    for probe in probes.values():
        assert probe["httpGet"]["path"] in OPEN_PATHS
        assert probe["httpGet"]["port"] in {"http", Settings.port}
    assert ("readinessProbe" in probes) or names == MODEL_SERVER_NAMES


def test_the_model_server_listens_only_on_a_socket_in_the_pod(rendered):
    gateway = container(server(rendered), GATEWAY_NAMES)
    model_server = container(server(rendered), MODEL_SERVER_NAMES)
    args = dict(arg.removeprefix("--").split("=") for arg in model_server["args"])
    assert (args["port"], args["rest_api_port"]) == ("0", "0")
    assert "ports" not in model_server
    upstream = {item["name"]: item["value"] for item in gateway["env"]}[f"{PREFIX}UPSTREAM"]
    assert upstream == f"unix:{args['grpc_socket_path']}"
    socket = {"name": "socket", "mountPath": str(PurePosixPath(args["grpc_socket_path"]).parent)}
    assert socket in gateway["volumeMounts"]
    assert socket in model_server["volumeMounts"]
    (volume,) = [v for v in server(rendered)["spec"]["volumes"] if v["name"] == "socket"]
    assert "emptyDir" in volume


def test_nothing_but_the_gateways_port_can_be_reached(rendered):
    assert [
        port["containerPort"] for port in container(server(rendered), GATEWAY_NAMES)["ports"]
    ] == [Settings.port]
    for spec in policies_on(rendered, server(rendered)["metadata"]["labels"]):
        ports = {port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]}
        assert ports <= {Settings.port}


def test_the_gateway_stops_before_the_model_server(rendered):
    def wait(names):
        return int(container(server(rendered), names)["lifecycle"]["preStop"]["exec"]["command"][1])

    assert wait(GATEWAY_NAMES) > 0
    assert wait(MODEL_SERVER_NAMES) > wait(GATEWAY_NAMES) + SHUTDOWN_SECONDS


def with_component(overlay, name, folder, of=DEPLOY / "serving"):
    """The objects of an overlay with a component."""
    kustomization = {
        "namespace": "kubeflow",
        "resources": [os.path.relpath(DEPLOY / "overlays" / overlay, folder)],
        "components": [os.path.relpath(of / name, folder)],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return build(folder)


@pytest.fixture(params=OVERLAYS)
def with_tokens(request, tmp_path):
    """The objects of an overlay with the component `tokens`."""
    return with_component(request.param, "tokens", tmp_path)


def test_tokens_are_read_from_a_required_secret(with_tokens):
    gateway = container(server(with_tokens), GATEWAY_NAMES)
    (path,) = [i["value"] for i in gateway["env"] if i["name"] == f"{PREFIX}TOKENS_FILE"]
    (mount,) = [m for m in gateway["volumeMounts"] if m["name"] == "tokens"]
    assert PurePosixPath(path) == PurePosixPath(mount["mountPath"]) / "tokens"
    assert mount["readOnly"]
    (volume,) = [v for v in server(with_tokens)["spec"]["volumes"] if v["name"] == "tokens"]
    assert volume["secret"] == {"secretName": "outnumbered-gateway"}
    assert not any(
        m["name"] == "tokens"
        for m in container(server(with_tokens), MODEL_SERVER_NAMES)["volumeMounts"]
    )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_component_signed_gives_the_gateway_the_public_key(overlay, tmp_path):
    signed = with_component(overlay, "signed", tmp_path)
    gateway = container(server(signed), GATEWAY_NAMES)
    (path,) = [i["value"] for i in gateway["env"] if i["name"] == VERIFY_KEY]
    (mount,) = [m for m in gateway["volumeMounts"] if m["name"] == "verify-key"]
    assert PurePosixPath(path) == PurePosixPath(mount["mountPath"]) / "public.pem"
    assert mount["readOnly"]
    (volume,) = [v for v in server(signed)["spec"]["volumes"] if v["name"] == "verify-key"]
    assert volume["configMap"] == {"name": "outnumbered-verify-key"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_the_exit_step_reaches_the_receivers_of_notifications(overlay, tmp_path):
    objects = with_component(overlay, "notifications", tmp_path, of=DEPLOY)
    name = "outnumbered-notifications"
    policy = named(objects, "NetworkPolicy")[name]
    kubernetes_validate.validate(policy, "1.30", strict=True)
    spec = policy["spec"]
    assert spec["policyTypes"] == ["Egress"]
    assert spec in policies_on(objects, {**STEP_LABELS, STEP_LABEL: STEP})
    assert spec not in policies_on(objects, {**STEP_LABELS, STEP_LABEL: "Trainer"})
    (rule,) = spec["egress"]
    assert rule["to"] == [{"ipBlock": {"cidr": "192.0.2.2/32"}}]
    assert {port["port"] for port in rule["ports"]} == {443, 587}


def test_the_gateway_accepts_every_variable_of_the_manifests(rendered, with_tokens):
    for objects in (rendered, with_tokens):
        env = container(server(objects), GATEWAY_NAMES)["env"]
        settings = from_environment({item["name"]: item["value"] for item in env})
        assert str(settings.versions_folder) == "/models/outnumbered"


def test_the_gateway_writes_the_config_that_the_model_server_reads_in_a_folder_of_the_pod(rendered):
    gateway = container(server(rendered), GATEWAY_NAMES)
    model_server = container(server(rendered), MODEL_SERVER_NAMES)
    args = dict(arg.removeprefix("--").split("=") for arg in model_server["args"])
    (config,) = [i["value"] for i in gateway["env"] if i["name"] == f"{PREFIX}MODEL_CONFIG"]
    assert args["model_config_file"] == config
    assert int(args["model_config_file_poll_wait_seconds"]) > 0
    (first,) = server(rendered)["spec"]["initContainers"]
    assert first["image"] == gateway["image"]
    assert first["command"][-1] == config
    folder = str(PurePosixPath(config).parent)
    for each in (gateway, model_server, first):
        assert {"name": "socket", "mountPath": folder} in each["volumeMounts"]


def test_gateway_and_model_server_see_the_versions_at_the_same_path(rendered):
    gateway = container(server(rendered), GATEWAY_NAMES)
    model_server = container(server(rendered), MODEL_SERVER_NAMES)
    settings = from_environment({item["name"]: item["value"] for item in gateway["env"]})

    def mount(holder):
        (found,) = [
            m for m in holder["volumeMounts"] if m["mountPath"] == str(settings.versions_folder)
        ]
        return found

    ours, theirs = mount(gateway), mount(model_server)
    assert theirs["readOnly"]
    assert {**ours, "readOnly": True} == theirs
    assert ours.get("readOnly", False) == (settings.models is None)
    (volume,) = [v for v in server(rendered)["spec"]["volumes"] if v["name"] == ours["name"]]
    assert ("emptyDir" in volume) == (settings.models is not None)
