"""Nothing that is deployed can do more than it must."""

import pytest
from cluster_objects import matches, named, pods, server

STEP_LABELS = {"pipelines.kubeflow.org/v2_component": "true"}


def containers(objects):
    return [
        (pod["spec"], container) for pod in pods(objects) for container in pod["spec"]["containers"]
    ]


def test_every_container_is_confined(rendered, jobs):
    for pod, container in containers(rendered + jobs):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert not context.get("privileged")
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert not any("hostPath" in volume for volume in pod["volumes"])


def test_every_container_has_bounds(rendered, jobs):
    for _, container in containers(rendered + jobs):
        for kind in ("requests", "limits"):
            assert container["resources"][kind].keys() == {"cpu", "memory"}


def test_every_image_has_a_tag_of_its_own(rendered, jobs):
    for _, container in containers(rendered + jobs):
        name, _, tag = container["image"].rpartition(":")
        assert name
        assert tag not in {"", "latest"}
        assert "/" not in tag


def test_no_deployed_pod_may_land_on_a_gpu_node(rendered, jobs):
    for pod, container in containers(rendered + jobs):
        assert "tolerations" not in pod
        assert "nodeSelector" not in pod
        assert not any("gpu" in key for key in container["resources"]["limits"])


def test_no_pod_holds_a_token_of_kubernetes(rendered, jobs):
    for pod, _ in containers(rendered + jobs):
        assert pod["automountServiceAccountToken"] is False


def test_no_secret_is_written_down(rendered, jobs):
    assert not named(rendered + jobs, "Secret")


def test_roles_name_what_they_allow(rendered):
    roles = named(rendered, "Role")
    assert roles
    assert not named(rendered, "ClusterRole")
    for rule in [rule for role in roles.values() for rule in role["rules"]]:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        if {"secrets", "configmaps"} & set(rule["resources"]):
            assert rule["verbs"] == ["get"]
            assert rule["resourceNames"]


def test_roles_are_bound_to_accounts_that_are_there(rendered):
    roles, accounts = named(rendered, "Role"), named(rendered, "ServiceAccount")
    for binding in named(rendered, "RoleBinding").values():
        assert binding["roleRef"]["name"] in roles
        for subject in binding["subjects"]:
            assert subject["name"] in accounts
            assert subject["namespace"] == "kubeflow"


def test_the_model_servers_account_is_bound_to_nothing(rendered):
    bindings = named(rendered, "RoleBinding").values()
    subjects = {subject["name"] for binding in bindings for subject in binding["subjects"]}
    assert "outnumbered-serving" not in subjects


def policies_on(objects, labels):
    return [
        policy["spec"]
        for policy in named(objects, "NetworkPolicy").values()
        if matches(policy["spec"]["podSelector"], labels)
    ]


def test_the_steps_reach_what_is_named_and_nothing_reaches_them(rendered):
    specs = policies_on(rendered, STEP_LABELS)
    assert {"policyTypes": ["Ingress", "Egress"]} in [
        {key: value for key, value in spec.items() if key != "podSelector"} for spec in specs
    ]
    assert not any("ingress" in spec for spec in specs)
    ports = {
        port["port"] for spec in specs for rule in spec.get("egress", []) for port in rule["ports"]
    }
    assert {53, 443, 8887} <= ports


def test_every_way_out_is_bounded_by_ports(rendered):
    for policy in named(rendered, "NetworkPolicy").values():
        for rule in policy["spec"].get("egress", []) + policy["spec"].get("ingress", []):
            assert rule["ports"]
            assert rule.get("to") or rule.get("from")


def test_each_deployed_pod_is_under_a_policy_and_the_server_has_no_way_out(rendered):
    for pod in pods(rendered):
        specs = policies_on(rendered, pod["metadata"]["labels"])
        assert specs
        assert all("Egress" in spec["policyTypes"] and "egress" not in spec for spec in specs)


@pytest.mark.parametrize("probe", ["readinessProbe", "livenessProbe"])
def test_the_server_is_probed(rendered, probe):
    assert server(rendered)["spec"]["containers"][0][probe]
