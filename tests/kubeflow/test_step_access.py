"""Each compiled step gets the volumes, secrets and user that it needs, and no more."""

import json
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from launcher import PROJECT
from step_pods import pod, violations

from pipeline.kubeflow.compile import compile_pipeline, compile_study
from pipeline.settings import apply_overrides, parse
from pipeline.study.settings import StudySettings

SETTINGS = PROJECT / "deploy" / "settings" / "cats_vs_dogs.yaml"
STORE = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"})
NONE: frozenset[str] = frozenset()
REGISTRY = frozenset({"/registry"})
READER, WRITER = (10002, 10002), (10001, 0)


def compiled(folder: Path, *overrides: str):
    tree = yaml.safe_load(SETTINGS.read_text())
    settings = parse(apply_overrides(tree, overrides), origin="test")
    return list(yaml.safe_load_all(compile_pipeline(settings, folder / "a.yaml").read_text()))


def main(made):
    return made["spec"]["containers"][0]


def granted(documents):
    """Of each step: the mounts of claims, the variables from secrets, the user and group."""
    found = {}
    for label in documents[0]["deploymentSpec"]["executors"]:
        made = pod(label, documents)
        claims = {
            volume["name"]
            for volume in made["spec"]["volumes"]
            if "persistentVolumeClaim" in volume
        }
        context = main(made)["securityContext"]
        found[label.removesuffix("_executor")] = (
            frozenset(m["mountPath"] for m in main(made)["volumeMounts"] if m["name"] in claims),
            frozenset(item["name"] for item in main(made)["env"] if "valueFrom" in item),
            (context.get("runAsUser"), context.get("runAsGroup")),
        )
    return found


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory):
    return compiled(tmp_path_factory.mktemp("steps"))


def test_each_step_gets_what_its_parameters_name_and_no_more(documents):
    assert granted(documents) == {
        "ChampionFinder": (REGISTRY, NONE, READER),
        "ImageExampleGen": (NONE, STORE, READER),
        "StatisticsGen": (NONE, NONE, READER),
        "SchemaGen": (REGISTRY, NONE, READER),
        "ExampleValidator": (NONE, NONE, READER),
        "ImbalanceSampler": (NONE, STORE, READER),  # its ledger
        "Trainer": (REGISTRY, STORE, READER),  # its weights, its checkpoints
        "Calibrator": (NONE, NONE, READER),
        "Evaluator": (NONE, NONE, READER),
        "Pusher": (REGISTRY, NONE, WRITER),
        "Reporter": (NONE, NONE, READER),
    }


def test_a_namespace_that_enforces_restricted_admits_every_step(documents):
    for label in documents[0]["deploymentSpec"]["executors"]:
        made = pod(label, documents)
        kubernetes_validate.validate(made, "1.30", strict=True)
        assert violations(made) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"runAsNonRoot": None},
        {"runAsUser": 0},
        {"allowPrivilegeEscalation": None},
        {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}},
    ],
)
def test_the_rules_of_restricted_refuse_what_they_must(documents, wrong):
    made = pod("Pusher_executor", documents)
    main(made)["securityContext"].update(wrong)
    assert violations(made)


def test_every_step_writes_to_volumes_of_its_own_and_is_told_by_its_label(documents):
    for label in documents[0]["deploymentSpec"]["executors"]:
        made = pod(label, documents)
        scratch = {volume["name"] for volume in made["spec"]["volumes"] if "emptyDir" in volume}
        homes = {m["mountPath"] for m in main(made)["volumeMounts"] if m["name"] in scratch}
        assert {"/work", "/gcs", "/s3", "/minio"} <= homes
        assert f"{made['metadata']['labels']['outnumbered-step']}_executor" == label


def test_the_launcher_of_each_step_needs_the_key_of_a_store_that_is_not_kubeflows(tmp_path):
    found = granted(compiled(tmp_path, "kubeflow.pipeline_root=s3://artifacts/root"))
    assert {secrets for _, secrets, _ in found.values()} == {STORE}


def test_credentials_of_one_cloud_are_not_given_to_steps_that_use_another(tmp_path):
    found = granted(
        compiled(
            tmp_path,
            "kubeflow.secrets=[{name: g, env: {GOOGLE_APPLICATION_CREDENTIALS: file}}]",
            "data.source=gs://photos/{SPAN}",
        )
    )
    given = {step for step, (_, secrets, _) in found.items() if secrets}
    assert given == {"ImageExampleGen"}


@pytest.mark.parametrize(
    ("registry", "variables", "others"),
    [
        # The photographs, the ledger and the checkpoints are in s3:// and minio://.
        ("s3://models/dogs", STORE, {"ImageExampleGen", "ImbalanceSampler", "Trainer"}),
        ("gs://models/dogs", {"GOOGLE_APPLICATION_CREDENTIALS"}, set()),
    ],
)
def test_the_steps_that_use_a_registry_in_a_bucket_get_its_key_and_no_volume(
    tmp_path, registry, variables, others
):
    env = "{" + ", ".join(f"{name}: key" for name in sorted(variables)) + "}"
    found = granted(
        compiled(
            tmp_path,
            f"pusher.registry={registry}",
            "trainer.weights=imagenet",
            "kubeflow.volumes=[]",
            f"kubeflow.secrets=[{{name: store, env: {env}}}]",
        )
    )
    given = {step: secrets for step, (_, secrets, _) in found.items() if secrets}
    assert given == dict.fromkeys({"ChampionFinder", "SchemaGen", "Pusher", *others}, variables)
    assert not any(mounts for mounts, _, _ in found.values())


def test_steps_that_are_named_get_volumes_and_secrets_and_no_others_do(tmp_path):
    found = granted(
        compiled(
            tmp_path,
            "kubeflow.secrets=[{name: hub, env: {HUB_TOKEN: token}, steps: [Trainer]}]",
            "kubeflow.volumes=[{claim: c, path: /registry}, "
            "{claim: d, path: /cache, steps: [Reporter]}, {claim: e, path: /certs, steps: all}]",
        )
    )
    assert {step for step, (_, secrets, _) in found.items() if secrets} == {"Trainer"}
    assert {step for step, (mounts, _, _) in found.items() if "/cache" in mounts} == {"Reporter"}
    assert all("/certs" in mounts for mounts, _, _ in found.values())


def test_images_on_a_volume_are_mounted_into_the_step_that_reads_them(tmp_path):
    found = granted(
        compiled(
            tmp_path,
            "data.source=/photos",
            "data.window=newest",
            "kubeflow.volumes=[{claim: c, path: /registry}, {claim: p, path: /photos}]",
        )
    )
    assert {step for step, (mounts, _, _) in found.items() if "/photos" in mounts} == {
        "ImageExampleGen"
    }
    assert found["ImageExampleGen"] == ({"/photos"}, NONE, READER)


def test_spans_on_a_volume_are_read_from_it_and_kept_in_the_bucket_by_its_key(tmp_path):
    mounts = "kubeflow.volumes=[{claim: c, path: /registry}, {claim: p, path: /photos}]"
    spans = ("data.source=/photos/{SPAN}", mounts)
    assert granted(compiled(tmp_path, *spans))["ImageExampleGen"] == ({"/photos"}, STORE, READER)


def test_a_variable_that_names_a_path_on_a_volume_mounts_it_everywhere(tmp_path):
    found = granted(
        compiled(
            tmp_path,
            "kubeflow.env.AWS_CA_BUNDLE=/certs/ca.pem",
            "kubeflow.volumes=[{claim: c, path: /registry}, {claim: e, path: /certs}]",
        )
    )
    assert all("/certs" in mounts for mounts, _, _ in found.values())


def test_the_users_are_those_of_the_settings_or_the_images(tmp_path):
    found = granted(compiled(tmp_path, "kubeflow.users={writer: null, reader: 7}"))
    assert found["Pusher"][2] == (None, None)
    assert found["Reporter"][2] == (7, 7)


def test_a_stable_draw_on_a_volume_is_written_and_one_in_a_bucket_needs_its_key(tmp_path):
    ledger = "sampler.ledger=/registry/a.ledger"
    on_volume = granted(compiled(tmp_path, "sampler.assignment=stable", ledger))
    assert on_volume["ImbalanceSampler"] == (REGISTRY, NONE, WRITER)
    below_root = granted(compiled(tmp_path, "sampler.assignment=stable"))
    assert below_root["ImbalanceSampler"] == (NONE, STORE, READER)


def test_the_exit_step_gets_its_secrets_and_those_of_the_pipeline_root_and_may_start_without(
    tmp_path,
):
    slack = frozenset({"OUTNUMBERED_SLACK_URL"})
    secrets = [
        {"name": "store", "env": {name: name for name in sorted(STORE)}},
        {"name": "n", "env": {"OUTNUMBERED_SLACK_URL": "url"}, "steps": ["Notifier"]},
    ]
    documents = compiled(
        tmp_path, "notifications.slack={}", f"kubeflow.secrets={json.dumps(secrets)}"
    )
    found = granted(documents)
    assert found.pop("Notifier") == (NONE, STORE | slack, READER)
    assert not any(slack & given for _, given, _ in found.values())
    made = pod("Notifier_executor", documents)
    kubernetes_validate.validate(made, "1.30", strict=True)
    assert violations(made) == []
    references = [item["valueFrom"]["secretKeyRef"] for item in main(made)["env"][-3:]]
    assert all(reference["optional"] for reference in references)
    others = pod("Trainer_executor", documents)
    assert not any(
        item["valueFrom"]["secretKeyRef"]["optional"]
        for item in main(others)["env"]
        if "valueFrom" in item
    )


def test_in_a_study_only_the_step_that_keeps_features_may_write(tmp_path):
    tree = yaml.safe_load(SETTINGS.read_text())
    del tree["evaluator"], tree["calibrator"], tree["pusher"]
    tree |= {
        "feature_store": "/registry/features",
        "replicates": 2,
        "arms": [{"name": name, "train": "train"} for name in ("a", "b")],
    }
    study = StudySettings.model_validate(tree)
    package = compile_study(study, tmp_path / "study.yaml")
    found = granted(list(yaml.safe_load_all(package.read_text())))
    writers = {step for step, (_, _, user) in found.items() if user == WRITER}
    assert len(writers) == 1
    assert all(step.startswith("FeatureExtractor") for step in writers)
    assert found["StudyReporter"] == (NONE, NONE, READER)
    assert found["ImageExampleGen"] == (NONE, STORE, READER)


@pytest.mark.parametrize(
    ("options", "granted_to"),
    [
        # The address of an engine, and a program that is only read.
        (["--flink_master=http://flink:8081", "--parallelism=2"], (NONE, NONE, READER)),
        (["--semi_persist_dir=/registry/beam"], (REGISTRY, NONE, READER)),
        (["--temp_location=/registry/beam"], (REGISTRY, NONE, WRITER)),
        (["--temp_location", "/registry/beam"], (REGISTRY, NONE, WRITER)),
        (["--temp_location=s3://bucket/beam"], (NONE, STORE, READER)),
    ],
)
def test_steps_that_use_beam_get_what_its_options_name(tmp_path, options, granted_to):
    beam = json.dumps({"runner": "FnApiRunner", "options": options})
    found = granted(compiled(tmp_path, f"beam={beam}"))
    assert found["StatisticsGen"] == found["Evaluator"] == granted_to
    assert found["Calibrator"] == (NONE, NONE, READER)
