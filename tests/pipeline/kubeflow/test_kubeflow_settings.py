from typing import Any

import pytest

from pipeline.settings import SettingsError, parse

SECTION: dict[str, Any] = {
    "image": "registry.example/outnumbered:1.0.0",
    "pipeline_root": "s3://artifacts/outnumbered",
}


def parsed(**changes: Any):
    tree = {
        "name": "small",
        "data": {"source": "photos", "positive_class": "dogs"},
        "sampler": {"splits": {name: {"cats": 10, "dogs": 1} for name in ("train", "val", "test")}},
        "kubeflow": SECTION | changes,
    }
    found = parse(tree, origin="test").kubeflow
    assert found is not None
    return found


def test_a_section_requires_only_an_image_and_a_root():
    section = parsed()
    assert section.gpu.count == 1
    assert section.gpu.steps == ["Trainer"]
    assert section.verify_tls
    assert section.auth.kind == "none"
    assert section.schedule is None


@pytest.mark.parametrize(
    "image",
    [
        "registry.example:5000/team/outnumbered:1.0.0",
        f"outnumbered@sha256:{'0123456789abcdef' * 4}",
        f"registry.example:5000/team/outnumbered:1.0.0@sha256:{'0123456789abcdef' * 4}",
    ],
)
def test_an_image_with_a_tag_or_a_digest_is_accepted(image):
    assert parsed(image=image).image == image


@pytest.mark.parametrize(
    "image",
    [
        "outnumbered",
        "outnumbered:latest",
        "registry.example:5000/outnumbered",
        "outnumbered:",
        "out numbered:1",
    ],
)
def test_an_image_without_a_version_is_rejected(image):
    with pytest.raises(SettingsError, match=r"kubeflow\.image: an image"):
        parsed(image=image)


@pytest.mark.parametrize("digest", ["", "latest", "sha256:0123456789abcdef", "sha512:" + "0" * 64])
def test_a_digest_that_no_registry_knows_is_rejected(digest):
    with pytest.raises(SettingsError, match=r"kubeflow\.image: the digest.*sha256: and 64 hex"):
        parsed(image=f"outnumbered:1.0.0@{digest}")


def test_a_secret_that_is_no_object_stores_must_name_its_steps():
    secret = {"name": "hub", "env": {"HUB_TOKEN": "token"}}
    with pytest.raises(SettingsError, match=r"secrets.*steps is required for HUB_TOKEN"):
        parsed(secrets=[secret])
    assert parsed(secrets=[secret | {"steps": ["Trainer"]}]).secrets[0].steps == ["Trainer"]
    assert parsed(secrets=[secret | {"steps": "all"}]).secrets[0].steps == "all"
    with pytest.raises(SettingsError, match="steps"):
        parsed(secrets=[secret | {"steps": ["Traner"]}])


@pytest.mark.parametrize("user", [0, -1, True])
def test_no_step_can_be_made_to_run_as_root(user):
    with pytest.raises(SettingsError, match=r"kubeflow\.users\.writer"):
        parsed(users={"writer": user})


@pytest.mark.parametrize("root", ["gs://bucket/a", "s3://bucket", "minio://mlpipeline/v2/"])
def test_a_root_that_the_launcher_maps_is_accepted(root):
    assert parsed(pipeline_root=root).pipeline_root == root.rstrip("/")


@pytest.mark.parametrize("root", ["/mnt/runs", "hdfs://host/a", "abfs://a/b", "s3://", "s3:/a"])
def test_other_roots_are_rejected_with_the_allowed_schemes(root):
    with pytest.raises(SettingsError, match=r"pipeline_root.*gs://.*s3://.*minio://.*Received: "):
        parsed(pipeline_root=root)


def test_a_selector_of_gpu_nodes_without_a_gpu_is_rejected():
    with pytest.raises(SettingsError, match="count is 0 and node_selector"):
        parsed(gpu={"count": 0, "node_selector": {"pool": "gpu"}})
    assert parsed(gpu={"count": 0}).gpu.count == 0


def test_five_fields_are_rejected_with_a_suggestion():
    with pytest.raises(SettingsError, match=r"six fields.*not 5; did you mean '0 0 3 \* \* \*'"):
        parsed(schedule={"cron": "0 3 * * *"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": {"cron": "0 0 25 * * *"}}, "not a valid schedule"),
        ({"schedule": {"cron": "0 0 3 * * *", "max_concurrency": 2}}, "max_concurrency"),
        ({"host": "kfp.example"}, "http://"),
        ({"namespace": "Team_A"}, "namespace"),
        ({"resources": {"memory": "8 GB"}}, "memory"),
        ({"volumes": [{"claim": "registry", "path": "registry"}]}, "path"),
        ({"gpu": {"steps": ["Evaluator"]}}, "gpu.steps"),
        (
            {
                "env": {"AWS_REGION": "a"},
                "secrets": [{"name": "store", "env": {"AWS_REGION": "region"}}],
            },
            "environment variable AWS_REGION is given twice",
        ),
        (
            {"volumes": [{"claim": "a", "path": "/mnt"}, {"claim": "b", "path": "/mnt/"}]},
            "a volume at /mnt is given twice",
        ),
        ({"gpus": {}}, "did you mean 'gpu'"),
    ],
)
def test_what_a_cluster_rejects_is_rejected(changes, message):
    with pytest.raises(SettingsError, match=message):
        parsed(**changes)


@pytest.mark.parametrize(
    ("retries", "message"),
    [
        (
            {"max_backoff_seconds": 900},
            r"was no longest wait.* give_up_after_hours instead.* Received: {max_",
        ),
        ({"backoff_factor": 1.5}, r"backoff_factor: .* Received: 1\.5"),
        ({"backoff_factor": 0}, r"backoff_factor: .* Received: 0"),
        ({"give_up_after_hours": 0}, "give_up_after_hours: "),
        (
            {"count": 8, "backoff_seconds": 600, "give_up_after_hours": 24},
            "give_up_after_hours must be longer than all waits together, 153,000 seconds",
        ),
    ],
)
def test_retries_that_the_backend_would_not_make_are_refused(retries, message):
    with pytest.raises(SettingsError, match=message):
        parsed(retries=retries)


def test_a_whole_factor_may_be_written_as_earlier_releases_wrote_it():
    assert parsed(retries={"backoff_factor": 2.0}).retries.backoff_factor == 2


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"a b": "x"}, r"labels.* a Kubernetes key, such as kueue"),
        ({"team": "two words"}, r"labels.* the value of a Kubernetes label"),
        ({"team": "x" * 64}, r"labels.* the value of a Kubernetes label"),
        ({"outnumbered-step": "x"}, "must not be outnumbered-step, which is set for each step"),
        ({"pipelines.kubeflow.org/x": "x"}, "must not be pipelines.kubeflow.org/"),
    ],
)
def test_labels_that_kubernetes_refuses_or_the_backend_sets_are_refused(labels, message):
    with pytest.raises(SettingsError, match=message):
        parsed(labels=labels)


def test_a_header_is_read_from_a_variable_or_a_command():
    token = {"command": ["kubectl", "create", "token", "steps"], "prefix": "Bearer "}
    headers = parsed(auth={"headers": {"Cookie": "COOKIE", "Authorization": token}}).auth.headers
    assert headers["Cookie"].env == "COOKIE"
    assert headers["Authorization"].command == token["command"]
    assert headers["Authorization"].timeout_seconds == 60


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ({"headers": {"Coo kie": "A"}}, r"auth\.headers.* must be the name of an HTTP header"),
        ({"headers": {"a\n": "A"}}, "must be the name of an HTTP header"),
        ({"headers": {"Host": "A"}}, r"auth\.headers.* must not be a header that describes"),
        ({"headers": {"Cookie": "A", "cookie": "B"}}, "must name cookie once. Received: Cookie, c"),
        ({"headers": {"Cookie": {}}}, r"Cookie: must have either env.* Received: none of them"),
        (
            {"headers": {"Cookie": {"env": "A", "command": ["a"]}}},
            "must have either env.* Received: env and command",
        ),
        ({"headers": {"Cookie": {"command": []}}}, "must begin with a program"),
        ({"headers": {"Cookie": {"command": "cat a"}}}, r"Cookie\.command: .* list"),
        ({"headers": {"Cookie": {"env": "A", "prefix": "a\nb"}}}, r"prefix: must be printable"),
        ({"headers": {"Cookie": {"command": ["a"], "timeout_seconds": 0}}}, "timeout_seconds: "),
        (
            {"headers": {"Cookie": {"enw": "A"}}},
            r"Cookie\.enw: no such setting \(did you mean 'env'\?\)",
        ),
        (
            {"kind": "token", "headers": {"authorization": "A"}},
            "headers has authorization, which kind token sets too",
        ),
    ],
)
def test_headers_that_can_t_be_sent_are_refused(auth, message):
    with pytest.raises(SettingsError, match=message):
        parsed(auth=auth)


def test_a_value_in_place_of_a_variable_is_refused_and_not_shown():
    for given in ("session=secret", {"env": "session=secret"}, {"value": "secret"}):
        with pytest.raises(SettingsError) as raised:
            parsed(auth={"headers": {"Cookie": given}})
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ({"steps": []}, r"node_pools\.large\.steps: "),
        ({}, r"node_pools\.large\.steps: is required"),
        ({"node_selector": {"a b": "x"}}, r"node_selector.* a Kubernetes key"),
        ({"node_selector": {"pool": "two words"}}, r"node_selector\.pool: .* Kubernetes label"),
        ({"node_selector": {"pool": True}}, r"node_selector\.pool: "),
        ({"tolerations": [{"key": "a b"}]}, r"tolerations\.0\.key.* a Kubernetes key"),
        (
            {"tolerations": [{"key": "a", "value": "b"}]},
            r"tolerations\.0: value must be left out with operator Exists.* Received: 'b'",
        ),
        ({"tolerations": [{"key": "", "operator": "Equal"}]}, "key is required with operator Eq"),
        (
            {"tolerations": [{"key": "a", "operator": "Equal", "value": "b c"}]},
            r"tolerations\.0\.value: .* Kubernetes label",
        ),
        ({"labels": {"outnumbered-step": "x"}}, "must not be outnumbered-step"),
        ({"resources": {"memory": "8 GB"}}, r"node_pools\.large\.resources\.memory: "),
        ({"gpus": 1}, r"node_pools\.large\.gpus: no such setting; known: labels, node_selector"),
    ],
)
def test_a_pool_that_kubernetes_would_refuse_is_refused(pool, message):
    given = {"steps": ["Evaluator"], **pool} if pool else {}
    with pytest.raises(SettingsError, match=message):
        parsed(node_pools={"large": given})


def test_a_toleration_of_every_taint_is_accepted():
    pool = {"steps": ["Evaluator"], "tolerations": [{"key": "", "effect": None}]}
    assert parsed(node_pools={"large": pool}).node_pools["large"].tolerations[0].key == ""


@pytest.mark.parametrize("second", [["Pusher", "Evaluator"], ["Evaluator"]])
def test_a_step_in_two_pools_is_refused(second):
    pools = {"large": {"steps": ["Evaluator"]}, "small": {"steps": second}}
    message = r"node_pools\.small has the step Evaluator, which node_pools\.large has too"
    with pytest.raises(SettingsError, match=message):
        parsed(node_pools=pools)


@pytest.mark.parametrize("step", ["Trainer", "Trainer.balanced"])
def test_a_gpu_step_in_a_pool_is_refused_unless_it_needs_no_gpu(step):
    pools = {"large": {"steps": [step]}}
    with pytest.raises(SettingsError, match=f"large has the step {step}, which gpu.steps sends"):
        parsed(node_pools=pools)
    for gpu in ({"count": 0}, {"steps": []}):
        assert parsed(node_pools=pools, gpu=gpu).node_pools


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"cpu": "500m", "cpu_request": "1"}, "cpu_request must be at most the limit cpu, 500m"),
        ({"memory": "1Gi", "memory_request": "2G"}, "memory_request must be at most the limit"),
        ({"cpu_request": "two"}, "cpu_request: must be a Kubernetes quantity"),
    ],
)
def test_a_request_above_its_limit_is_refused(resources, message):
    with pytest.raises(SettingsError, match=message):
        parsed(resources=resources)
    assert parsed(resources={"memory": "2Gi", "memory_request": "2G"}).resources
