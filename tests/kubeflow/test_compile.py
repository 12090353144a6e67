"""Settings and TFX pipelines are compiled to the format that a cluster reads."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import components
from launcher import PROJECT
from tfx.components import CsvExampleGen
from tfx.dsl.components.base.base_driver import BaseDriver
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
from tfx.orchestration.pipeline import Pipeline
from tfx.types import Channel, standard_artifacts

from components.image_example_gen.component import ImageExampleGen
from components.trainer.component import trainer
from pipeline.kubeflow import compile as compiler
from pipeline.kubeflow.compile import CompileError, compile_dag, compile_pipeline
from pipeline.kubeflow.platform import retry_policy
from pipeline.kubeflow.settings import Kubeflow, Retries
from pipeline.settings import Settings, apply_overrides, parse

TREE = {
    "name": "small",
    "data": {"source": "s3://photos/{SPAN}", "positive_class": "dogs"},
    "sampler": {"splits": {name: {"cats": 10, "dogs": 1} for name in ("train", "val", "test")}},
    "trainer": {"epochs": 3},
    "pusher": {"registry": "/registry/dogs"},
    "kubeflow": {
        "image": "registry.example/outnumbered:1.0",
        "gpu_image": "registry.example/outnumbered-gpu:1.0",
        "pipeline_root": "s3://artifacts/root",
        "volumes": [{"claim": "registry", "path": "/registry"}],
        "secrets": [{"name": "store", "env": {"AWS_SECRET_ACCESS_KEY": "secret"}}],
        "env": {"AWS_ENDPOINT_URL": "http://minio:9000"},
        "gpu": {"node_selector": {"pool": "gpu"}, "count": 2},
        "retries": {"count": 2, "backoff_seconds": 30},
    },
}


def settings(*overrides: str) -> Settings:
    return parse(apply_overrides(TREE, overrides), origin="test")


def kubeflow(*overrides: str) -> Kubeflow:
    found = settings(*overrides).kubeflow
    assert found is not None
    return found


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_pipeline(settings(), tmp_path_factory.mktemp("compiled") / "small.yaml")


@pytest.fixture(scope="module")
def documents(package: Path) -> list[Any]:
    return list(yaml.safe_load_all(package.read_text()))


def executors(documents: list[Any]) -> dict[str, Any]:
    return documents[0]["deploymentSpec"]["executors"]


def platform(documents: list[Any]) -> dict[str, Any]:
    return documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def tasks(documents: list[Any]) -> dict[str, Any]:
    return documents[0]["root"]["dag"]["tasks"]


def constant(parameter: dict[str, Any]) -> str:
    return parameter["runtimeValue"]["constant"]


def test_kfp_loads_both_documents_and_their_parameters(package: Path):
    loaded = components.load_component_from_file(str(package))
    inputs = {
        name: (given.type, given.default) for name, given in loaded.component_spec.inputs.items()
    }
    assert inputs == {
        "source": ("String", "s3://photos/{SPAN}"),
        "span": ("String", ""),
        "data_version": ("String", ""),
        "epochs": ("Integer", 3),
        "model": ("String", "cnn"),
        "pipeline_root": ("String", "s3://artifacts/root"),
    }
    assert "kubernetes" in loaded.platform_spec.platforms


def test_all_parameters_are_optional(documents: list[Any]):
    declared = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert all(parameter["isOptional"] for parameter in declared.values())


def test_the_spec_has_version_2_1_and_its_pipeline_root(documents: list[Any]):
    assert documents[0]["schemaVersion"] == "2.1.0"
    assert documents[0]["defaultPipelineRoot"] == "s3://artifacts/root"


def test_another_process_with_another_hash_seed_writes_the_same_bytes(
    package: Path, tmp_path: Path
):
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(TREE, sort_keys=False))
    code = (
        "from pathlib import Path; from pipeline.settings import load; "
        "from pipeline.kubeflow.compile import compile_pipeline; "
        f"compile_pipeline(load(Path({str(file)!r})), Path({str(tmp_path / 'again.yaml')!r}))"
    )
    environment = {"PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": "12", "PATH": "/usr/bin"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
    assert (tmp_path / "again.yaml").read_bytes() == package.read_bytes()


def test_the_compiled_file_does_not_depend_on_how_a_client_signs_in(package: Path, tmp_path: Path):
    own = settings("kubeflow.auth.headers.Cookie=KUBEFLOW_COOKIE")
    assert compile_pipeline(own, tmp_path / "small.yaml").read_bytes() == package.read_bytes()


def test_only_the_trainer_is_sent_to_gpu_nodes(documents: list[Any]):
    placed = {"nodeSelector", "tolerations"}
    assert {label for label, config in platform(documents).items() if placed & config.keys()} == {
        "Trainer_executor"
    }
    assert platform(documents)["Trainer_executor"]["nodeSelector"] == {"labels": {"pool": "gpu"}}
    with_device = {
        label
        for label, executor in executors(documents).items()
        if "accelerator" in executor["container"]["resources"]
    }
    assert with_device == {"Trainer_executor"}


def test_a_gpu_step_has_its_image_device_memory_and_shared_memory(documents: list[Any]):
    container = executors(documents)["Trainer_executor"]["container"]
    assert container["image"] == "registry.example/outnumbered-gpu:1.0"
    assert container["resources"] == {
        "cpuLimit": 4.0,
        "memoryLimit": pytest.approx(17.179869184),
        "resourceCpuLimit": "4",
        "resourceMemoryLimit": "16Gi",
        "accelerator": {
            "type": "nvidia.com/gpu",
            "count": "2",
            "resourceType": "nvidia.com/gpu",
            "resourceCount": "2",
        },
    }
    assert platform(documents)["Trainer_executor"]["emptyDirMounts"] == [
        {
            "volumeName": "shared-memory",
            "mountPath": "/dev/shm",
            "medium": "Memory",
            "sizeLimit": "2Gi",
        },
        {"volumeName": "scratch", "mountPath": "/work"},
    ]


def test_every_step_has_the_entrypoint_retries_and_environment(documents: list[Any]):
    for executor in executors(documents).values():
        container = executor["container"]
        assert container["command"] == ["python", "-m", "pipeline.kubeflow.entrypoint"]
        assert container["env"] == [{"name": "AWS_ENDPOINT_URL", "value": "http://minio:9000"}]
    for task in tasks(documents).values():
        assert task["retryPolicy"] == {
            "maxRetryCount": 2,
            "backoffDuration": "30s",
            "backoffFactor": 2.0,
            "backoffMaxDuration": "259200s",  # 72 hours
        }


def test_pods_have_the_labels_and_annotations_of_the_settings_besides_their_own(tmp_path):
    shared = {"kueue.x-k8s.io/priority-class": "low", "team": "pets"}
    queue = "kueue.x-k8s.io/queue-name"
    overrides = [
        f"kubeflow.labels={json.dumps({queue: 'training', **shared})}",
        'kubeflow.gpu.labels={"kueue.x-k8s.io/queue-name": "gpus"}',
        'kubeflow.annotations={"note": "any text, of any length"}',
    ]
    settings = parse(apply_overrides(TREE, overrides), origin="test")
    documents = list(
        yaml.safe_load_all(compile_pipeline(settings, tmp_path / "a.yaml").read_text())
    )
    for label, config in platform(documents).items():
        step = label.removesuffix("_executor")
        name = "gpus" if step == "Trainer" else "training"
        assert config["podMetadata"] == {
            "labels": {queue: name, **shared, "outnumbered-step": step},
            "annotations": {"note": "any text, of any length"},
        }


def test_on_vertex_ai_the_longest_duration_is_that_of_a_wait():
    policy = retry_policy(Retries(give_up_after_hours=96), "vertex")
    assert policy["backoffMaxDuration"] == "3600s"


def test_claims_and_secrets_are_named_for_older_and_for_newer_backends(documents: list[Any]):
    config = platform(documents)["Pusher_executor"]
    (mount,) = config["pvcMount"]
    assert mount["mountPath"] == "/registry"
    assert mount["constant"] == constant(mount["pvcNameParameter"]) == "registry"
    (secret,) = config["secretAsEnv"]
    assert secret["secretName"] == constant(secret["secretNameParameter"]) == "store"
    assert secret["keyToEnv"] == [{"secretKey": "secret", "envVar": "AWS_SECRET_ACCESS_KEY"}]


def test_images_are_read_again_in_each_run_unless_their_version_is_given(
    documents: list[Any], tmp_path: Path
):
    uncached = {name for name, task in tasks(documents).items() if "cachingOptions" not in task}
    # The images may have changed, another model may serve, and the model or its schema may be gone
    # from the registry.
    assert uncached == {"ChampionFinder", "ImageExampleGen", "SchemaGen", "Pusher"}
    package = compile_pipeline(settings(), tmp_path / "small.yaml", data_version="2026-11-24")
    versioned = list(yaml.safe_load_all(package.read_text()))
    assert tasks(versioned)["ImageExampleGen"]["cachingOptions"] == {"enableCache": True}
    uncached = {name for name, task in tasks(versioned).items() if "cachingOptions" not in task}
    assert uncached == {"ChampionFinder", "SchemaGen", "Pusher"}
    assert versioned[0]["root"]["inputDefinitions"]["parameters"]["data_version"][
        "defaultValue"
    ] == ("2026-11-24")


def test_a_warm_start_hands_the_champion_to_the_trainer(tmp_path: Path):
    own = settings("trainer.warm_start=champion")
    package = compile_pipeline(own, tmp_path / "small.yaml", data_version="1")
    found = tasks(list(yaml.safe_load_all(package.read_text())))
    for name in ("Trainer", "Evaluator"):
        source = found[name]["inputs"]["artifacts"]["champion"]["taskOutputArtifact"]
        assert source["producerTask"] == "ChampionFinder"


@pytest.mark.parametrize(
    "changes",
    [
        ("trainer.model=xception", "trainer.weights=/registry/xception.weights.h5"),
        ("trainer.model=/registry/own.keras",),
    ],
)
def test_a_step_that_loads_a_file_of_weights_is_never_cached(tmp_path: Path, changes):
    package = compile_pipeline(settings(*changes), tmp_path / "small.yaml", data_version="1")
    found = tasks(list(yaml.safe_load_all(package.read_text())))
    uncached = {name for name, task in found.items() if "cachingOptions" not in task}
    assert uncached == {"ChampionFinder", "SchemaGen", "Trainer", "Pusher"}


def test_a_stable_draw_keeps_its_ledger_below_the_pipeline_root_and_is_never_cached(
    documents: list[Any], tmp_path: Path
):
    stable = compile_pipeline(settings("sampler.assignment=stable"), tmp_path / "stable.yaml")
    (compiled, _) = yaml.safe_load_all(stable.read_text())
    task = compiled["root"]["dag"]["tasks"]["ImbalanceSampler"]
    parameters = task["inputs"]["parameters"]
    assert constant(parameters["ledger"]) == "ledgers/small.ledger"
    assert parameters["pipeline_root"] == {"componentInputParameter": "pipeline_root"}
    assert "cachingOptions" not in task
    exact = tasks(documents)["ImbalanceSampler"]
    assert constant(exact["inputs"]["parameters"]["ledger"]) == ""
    assert "pipeline_root" not in exact["inputs"]["parameters"]
    assert exact["cachingOptions"] == {"enableCache": True}


def test_a_ledger_path_in_the_settings_must_outlive_the_pod(tmp_path: Path):
    for path in ("/registry/a.ledger", "s3://ledgers/a.ledger"):
        given = settings("sampler.assignment=stable", f"sampler.ledger={path}")
        package = compile_pipeline(given, tmp_path / "stable.yaml")
        (compiled, _) = yaml.safe_load_all(package.read_text())
        parameters = compiled["root"]["dag"]["tasks"]["ImbalanceSampler"]["inputs"]["parameters"]
        assert constant(parameters["ledger"]) == path
        assert "pipeline_root" not in parameters
    with pytest.raises(CompileError, match=r"sampler\.ledger must be a folder that outlives"):
        compile_pipeline(settings("sampler.ledger=here/a.ledger"), tmp_path / "stable.yaml")


def test_the_types_of_all_artifacts_are_written_for_the_entrypoint(documents: list[Any]):
    arguments = executors(documents)["ImageExampleGen_executor"]["container"]["args"]
    types = json.loads(arguments[arguments.index("--artifact_types") + 1])
    assert types == {
        "examples": "tfx.types.standard_artifacts.Examples",
        "quarantine": "components.artifacts.Quarantine",
    }


def test_the_reporter_has_the_artifacts_that_the_run_page_draws(documents: list[Any]):
    outputs = documents[0]["components"]["Reporter"]["outputDefinitions"]["artifacts"]
    report = outputs.pop("report")["artifactType"]
    assert "outnumbered.Report" in report["instanceSchema"]
    assert outputs == {
        "metrics": {
            "artifactType": {"schemaTitle": "system.Metrics", "schemaVersion": "0.0.1"},
        },
        "classification_metrics": {
            "artifactType": {
                "schemaTitle": "system.ClassificationMetrics",
                "schemaVersion": "0.0.1",
            },
        },
    }


def test_no_output_is_downloaded_with_another_but_that_of_tfx_s_trainer(documents: list[Any]):
    """The launcher of release 2.16 downloads all keys that begin like an input's."""
    beside = []
    for name, component in documents[0]["components"].items():
        keys = [*component["outputDefinitions"]["artifacts"], "executor-logs"]
        pairs = [(one, other) for one in keys for other in keys if one != other]
        beside += [(name, one, other) for one, other in pairs if other.startswith(one)]
    # Both names are TFX's; a reader of the model gets the small model_run beside its folder.
    assert beside == [("Trainer", "model", "model_run")]


def test_the_first_steps_and_those_that_use_it_check_the_pipeline_root(documents: list[Any]):
    flag, placeholder = "--pipeline_root", "{{$.inputs.parameters['pipeline_root']}}"
    checking = set()
    for label, executor in executors(documents).items():
        arguments = executor["container"]["args"]
        if flag in arguments:
            assert arguments[arguments.index(flag) + 1] == placeholder
            checking.add(label.removesuffix("_executor"))
    assert checking == {"ChampionFinder", "ImageExampleGen", "Trainer"}
    for name in checking:
        given = tasks(documents)[name]["inputs"]["parameters"]["pipeline_root"]
        assert given == {"componentInputParameter": "pipeline_root"}


def test_without_variables_no_digest_of_them_is_compiled(tmp_path: Path):
    package = compile_pipeline(settings("kubeflow.env={}"), tmp_path / "small.yaml")
    assert "--environment_digest" not in package.read_text()


def test_a_vertex_job_is_one_json_object_with_its_own_accelerator_names(tmp_path: Path):
    own = settings(
        "kubeflow.target=vertex",
        "kubeflow.pipeline_root=gs://bucket/root",
        "kubeflow.volumes=[]",
        "kubeflow.secrets=[]",
        "kubeflow.gpu={accelerator: NVIDIA_TESLA_T4, count: 1}",
        "pusher.registry=/gcs/bucket/registry",
    )
    job = json.loads(compile_pipeline(own, tmp_path / "small.json").read_text())
    assert job["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/root"
    reporter = job["pipelineSpec"]["components"]["Reporter"]
    assert reporter["outputDefinitions"]["artifacts"].keys() == {"report"}
    executor = job["pipelineSpec"]["deploymentSpec"]["executors"]["Trainer_executor"]
    assert executor["container"]["resources"] == {
        "cpuLimit": 4.0,
        "memoryLimit": pytest.approx(17.179869184),
        "accelerator": {"type": "NVIDIA_TESLA_T4", "count": "1"},
    }


def test_arms_of_a_step_run_on_gpu_nodes_under_names_that_argo_accepts(tmp_path: Path):
    example_gen = example_gen_of("images")
    arms = [
        trainer(
            example_gen.outputs["examples"],
            settings={"model": "xception", "weights": "none"},
            max_side=0,
            max_pixels=10_000,
            checkpoint_root="s3://artifacts/root",
        ).with_id(f"Trainer.{arm}")
        for arm in ("balanced", "representative")
    ]
    package = compile_dag(dag(example_gen, *arms), kubeflow(), tmp_path / "study.yaml")
    found = list(yaml.safe_load_all(package.read_text()))
    assert set(tasks(found)) == {"ImageExampleGen", "Trainer-balanced", "Trainer-representative"}
    for arm in ("Trainer-balanced", "Trainer-representative"):
        assert tasks(found)[arm]["dependentTasks"] == ["ImageExampleGen"]
        assert tasks(found)[arm]["taskInfo"]["name"] == arm
        assert "nodeSelector" in platform(found)[f"{arm}_executor"]


def example_gen_of(source: str) -> ImageExampleGen:
    return ImageExampleGen(source=source, positive_class="dogs")


def dag(*nodes: Any, name: str = "study") -> Pipeline:
    return Pipeline(pipeline_name=name, pipeline_root="s3://artifacts/root", components=list(nodes))


class OwnDriver(BaseDriver):
    pass


class DrivenExampleGen(ImageExampleGen):
    DRIVER_CLASS = OwnDriver


def resolver() -> Resolver:
    return Resolver(
        strategy_class=LatestArtifactStrategy, model=Channel(type=standard_artifacts.Model)
    ).with_id("champion")


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (resolver, "champion is a Resolver"),
        (lambda: CsvExampleGen(input_base="data"), "CsvExampleGen finds its input in a driver"),
        (
            lambda: DrivenExampleGen(source="images", positive_class="dogs"),
            "DrivenExampleGen has a custom driver.*Received: OwnDriver",
        ),
    ],
)
def test_what_the_backend_does_not_run_is_rejected(node: Any, reason: str, tmp_path: Path):
    with pytest.raises(CompileError, match=reason):
        compile_dag(dag(node()), kubeflow(), tmp_path / "refused.yaml")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["Study", "study_1", "-study", "study-"])
def test_a_name_that_is_invalid_in_kubernetes_is_rejected(name: str, tmp_path: Path):
    with pytest.raises(CompileError, match="name must be a valid Kubernetes name"):
        compile_dag(dag(example_gen_of("images"), name=name), kubeflow(), tmp_path / "refused.yaml")


def test_a_registry_that_would_not_outlive_its_pod_is_rejected(tmp_path: Path):
    for registry in ("null", "models", "/models", "/registry-of-others/a", "/registry/../a"):
        with pytest.raises(CompileError, match=r"pusher.registry must be a folder that outlives"):
            compile_pipeline(settings(f"pusher.registry={registry}"), tmp_path / "refused.yaml")


@pytest.mark.parametrize("registry", ["s3://models/dogs", "gs://models/dogs"])
def test_a_registry_in_a_bucket_needs_no_volume(registry: str, tmp_path: Path):
    given = settings(f"pusher.registry={registry}/", "kubeflow.volumes=[]")
    package = compile_pipeline(given, tmp_path / "small.yaml")
    documents = list(yaml.safe_load_all(package.read_text()))
    for step in ("SchemaGen", "Pusher"):
        parameters = tasks(documents)[step]["inputs"]["parameters"]
        assert parameters["registry"]["runtimeValue"]["constant"] == registry
    assert not [name for name, config in platform(documents).items() if "pvcMount" in config]


def test_settings_without_the_section_are_rejected(tmp_path: Path):
    with pytest.raises(CompileError, match="the section kubeflow of the settings is required"):
        compile_pipeline(settings("kubeflow=null"), tmp_path / "refused.yaml")


def test_dataflow_is_rejected_whose_workers_do_not_see_the_files_of_a_pod(tmp_path: Path):
    options = [
        *("--project=my-project", "--region=europe-west4", "--temp_location=gs://bucket/temp"),
        "--sdk_container_image=registry.example/outnumbered:1",
    ]
    beam = json.dumps({"runner": "DataflowRunner", "options": options})
    given = settings(f"beam={beam}", "kubeflow.pipeline_root=gs://bucket/root")
    with pytest.raises(
        CompileError, match=r"beam\.runner must not be DataflowRunner: the artifacts"
    ):
        compile_pipeline(given, tmp_path / "refused.yaml")


def test_a_missing_kfp_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compiler, "_is_installed", lambda name: name != "kfp.kubernetes")
    with pytest.raises(CompileError, match=r"kfp\.kubernetes can't be imported"):
        compile_pipeline(settings(), tmp_path / "refused.yaml")


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("kubeflow.pipeline_root=s3://artifacts/root", "must begin with gs://"),
        (
            "kubeflow.volumes=[{claim: c, path: /registry}]",
            r"volumes is not supported by Vertex AI",
        ),
        (
            "kubeflow.node_pools.large={steps: [Evaluator]}",
            r"node_pools is not supported by Vertex AI",
        ),
        (
            "kubeflow.resources.cpu_request=500m",
            r"resources.cpu_request is not supported by Vertex AI",
        ),
    ],
)
def test_what_vertex_does_not_support_is_rejected(override: str, reason: str, tmp_path: Path):
    overrides = {
        "kubeflow.target": "vertex",
        "kubeflow.pipeline_root": "gs://bucket/root",
        "kubeflow.volumes": "[]",
        "kubeflow.secrets": "[]",
        "kubeflow.gpu.node_selector": "{}",
        "pusher.registry": "/gcs/bucket/registry",
    }
    key, _, value = override.partition("=")
    given = settings(*(f"{name}={text}" for name, text in {**overrides, key: value}.items()))
    with pytest.raises(CompileError, match=reason):
        compile_pipeline(given, tmp_path / "refused.json")


def test_a_file_with_another_suffix_is_rejected(tmp_path: Path):
    with pytest.raises(CompileError, match=r"must end in \.yaml or \.yml"):
        compile_pipeline(settings(), tmp_path / "pipeline.json")
