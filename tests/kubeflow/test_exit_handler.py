"""Notifications are compiled to an exit handler, of the shape that kfp gives it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler, components, dsl
from kfp.pipeline_spec import pipeline_spec_pb2
from launcher import PROJECT
from test_compile import settings

from components.notifications.settings import Notifications
from pipeline.kubeflow.compile import CompileError, compile_pipeline, compile_study
from pipeline.kubeflow.exit_handler import last_steps, wrapped
from pipeline.kubeflow.settings import Kubeflow
from pipeline.study.settings import StudySettings

IMAGE = "i:1"
SECRETS = [
    {"name": "store", "env": {"AWS_SECRET_ACCESS_KEY": "secret"}},
    {"name": "n", "env": {"OUTNUMBERED_SLACK_URL": "url"}, "steps": ["Notifier"]},
]
ON = ("notifications.slack={}", f"kubeflow.secrets={json.dumps(SECRETS)}")


def compiled(path: Path, *overrides: str) -> list[Any]:
    package = compile_pipeline(settings(*overrides), path / "small.yaml")
    return list(yaml.safe_load_all(package.read_text()))


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return compiled(tmp_path_factory.mktemp("on"), *ON)


@dsl.container_component
def work(text: str, written: dsl.Output[dsl.Artifact]):
    return dsl.ContainerSpec(image=IMAGE, command=["work"], args=[text, written.path])


@dsl.container_component
def copy(read: dsl.Input[dsl.Artifact], epochs: int):
    return dsl.ContainerSpec(image=IMAGE, command=["copy"], args=[read.path, epochs])


@dsl.container_component
def notifier(
    status: dsl.PipelineTaskFinalStatus,
    run_id: str,
    run_name: str,
    notification: dsl.Output[dsl.Artifact],
):
    return dsl.ContainerSpec(image=IMAGE, command=["tell"])


def made_by_kfp(path: Path, *, in_exit_handler: bool) -> dict[str, Any]:
    """A pipeline of two steps as kfp compiles it; names are those that this project gives."""

    @dsl.pipeline(name="two")
    def two(text: str = "a", epochs: int = 3, unused: str = ""):
        if not in_exit_handler:
            copy(read=work(text=text).outputs["written"], epochs=epochs)
            return
        last = notifier(
            run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER
        )
        last.set_caching_options(False)
        with dsl.ExitHandler(last):
            final = copy(read=work(text=text).outputs["written"], epochs=epochs)
            final.set_caching_options(False)

    compiler.Compiler().compile(two, str(path))
    text = path.read_text()
    names = {"comp-notifier": "Notifier", "exec-notifier": "Notifier_executor"}
    for old, new in {**names, "notifier": "Notifier"}.items():
        text = text.replace(old, new)
    return yaml.safe_load(text)


def without_empty(value: Any) -> Any:
    """A spec without options that are empty, which are the same as none."""
    if isinstance(value, dict):
        found = {key: without_empty(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item != {}}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


def test_the_shape_is_that_of_kfp_s_own_exit_handler(tmp_path: Path):
    plain = made_by_kfp(tmp_path / "plain.yaml", in_exit_handler=False)
    container = {"image": IMAGE, "command": ["tell"]}
    ours = wrapped(plain, container, {})
    theirs = made_by_kfp(tmp_path / "handled.yaml", in_exit_handler=True)
    assert without_empty(ours) == without_empty(theirs)
    assert plain == made_by_kfp(tmp_path / "plain.yaml", in_exit_handler=False)


def test_without_receivers_the_compiled_bytes_have_nothing_of_it(tmp_path: Path):
    plain = compile_pipeline(settings(), tmp_path / "plain.yaml").read_bytes()
    off = settings("notifications={outcomes: [failed], link: 'https://kfp.example.com/{run}'}")
    assert compile_pipeline(off, tmp_path / "off.yaml").read_bytes() == plain
    for word in (b"Notifier", b"exit-handler", b"pipelinechannel", b"notifications"):
        assert word not in plain


def test_all_steps_are_as_without_it_apart_from_their_dag(documents: list[Any], tmp_path: Path):
    plain, platform = compiled(tmp_path, ON[1])
    spec = documents[0]
    inner = spec["components"]["comp-exit-handler-1"]
    text = json.dumps(inner["dag"]["tasks"]).replace("pipelinechannel--", "")
    tasks = plain["root"]["dag"]["tasks"]
    del tasks["Reporter"]["cachingOptions"]
    assert json.loads(text) == tasks
    assert last_steps(plain) == ["Reporter"]
    assert plain["root"]["inputDefinitions"] == spec["root"]["inputDefinitions"]
    # So that turning it on serves the same steps from the cache.
    for label, executor in plain["deploymentSpec"]["executors"].items():
        assert executor == spec["deploymentSpec"]["executors"][label]
        configs = (each["platforms"]["kubernetes"] for each in (platform, documents[1]))
        before, after = (config["deploymentSpec"]["executors"][label] for config in configs)
        assert before == after


def test_kfp_loads_the_package_and_its_parameters(documents: list[Any], tmp_path: Path):
    path = compile_pipeline(settings(*ON), tmp_path / "small.yaml")
    assert "&id" not in path.read_text()  # the backend's parser limits aliases
    loaded = components.load_component_from_file(str(path))
    assert set(loaded.component_spec.inputs) == {
        *("source", "span", "data_version"),
        *("epochs", "model", "pipeline_root"),
    }
    json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())


def test_the_exit_step_is_small_retried_and_labelled(documents: list[Any]):
    task = documents[0]["root"]["dag"]["tasks"]["Notifier"]
    assert task["retryPolicy"]["maxRetryCount"] == 2
    assert "cachingOptions" not in task
    container = documents[0]["deploymentSpec"]["executors"]["Notifier_executor"]["container"]
    assert container["resources"]["resourceMemoryLimit"] == "512Mi"
    assert container["env"] == [{"name": "AWS_ENDPOINT_URL", "value": "http://minio:9000"}]
    config = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert config["Notifier_executor"]["podMetadata"]["labels"] == {"outnumbered-step": "Notifier"}
    assert "pvcMount" not in config["Notifier_executor"]


def arguments(documents: list[Any]) -> dict[str, str]:
    container = documents[0]["deploymentSpec"]["executors"]["Notifier_executor"]["container"]
    assert container["command"] == ["python", "-m", "pipeline.kubeflow.notifier"]
    given = container["args"]
    return dict(zip(given[::2], given[1::2], strict=True))


@pytest.mark.parametrize(
    ("override", "link"),
    [
        ("kubeflow.host=https://kfp.example.com/", "https://kfp.example.com/#/runs/details/{run}"),
        ("kubeflow.host=http://localhost:8080", None),
        ("kubeflow.host=null", None),
        ("notifications.link='https://kfp.example/r/{run}'", "https://kfp.example/r/{run}"),
    ],
)
def test_the_link_is_that_of_the_settings_or_of_the_server(override, link, tmp_path):
    assert arguments(compiled(tmp_path, *ON, override)).get("--link") == link


def test_the_command_has_the_settings_and_no_secret(documents: list[Any]):
    given = arguments(documents)
    assert given["--executor_input"] == "{{$}}"
    assert given["--pipeline"] == "small"
    assert json.loads(given["--last_steps"]) == ["Reporter"]
    found = Notifications.model_validate_json(given["--notifications"])
    assert found == settings(*ON).notifications


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (ON[:1], r"notifications\.slack\.url_env names the variable OUTNUMBERED_SLACK_URL, which"),
        (
            (*ON[:1], f"kubeflow.secrets={json.dumps([{**SECRETS[1], 'steps': ['Pusher']}])}"),
            "which the step Notifier gets from no secret",
        ),
        (
            (*ON[:1], "kubeflow.env.OUTNUMBERED_SLACK_URL=https://hooks.example.com/hidden"),
            r"kubeflow\.env must not set OUTNUMBERED_SLACK_URL",
        ),
        (
            (
                *("notifications.slack={}", "kubeflow.target=vertex", "kubeflow.volumes=[]"),
                *("kubeflow.pipeline_root=gs://bucket/root", "kubeflow.secrets=[]"),
                *("kubeflow.gpu.node_selector={}", "pusher.registry=gs://bucket/registry"),
            ),
            "notifications are not supported by Vertex AI",
        ),
    ],
)
def test_what_can_not_be_told_is_refused(overrides, problem, tmp_path: Path):
    path = tmp_path / ("a.json" if "kubeflow.target=vertex" in overrides else "a.yaml")
    with pytest.raises(CompileError, match=problem) as caught:
        compile_pipeline(settings(*overrides), path)
    assert "hidden" not in str(caught.value)
    assert not path.exists()


def test_the_settings_of_the_documentation_compile(tmp_path: Path):
    text = (PROJECT / "docs" / "notifications.md").read_text()
    parts = [yaml.safe_load(part) for part in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    given, cluster = parts[0]["notifications"], parts[1]["kubeflow"]["secrets"]
    overrides = (f"notifications={json.dumps(given)}", f"kubeflow.secrets={json.dumps(cluster)}")
    assert arguments(compiled(tmp_path, *overrides))["--link"] == given["link"]


def test_a_study_is_told_too(tmp_path: Path):
    given = settings(*ON).model_dump(exclude={"calibrator", "evaluator", "pusher", "tracking"})
    arms = [{"name": name, "train": "train"} for name in ("a", "b")]
    study = StudySettings.model_validate({**given, "arms": arms, "replicates": 2})
    assert isinstance(study.kubeflow, Kubeflow)
    package = compile_study(study, tmp_path / "study.yaml")
    spec, _ = yaml.safe_load_all(package.read_text())
    inner = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert {"Trainer-a", "Trainer-b", "StudyReporter"} <= inner.keys()
    assert "cachingOptions" not in inner["StudyReporter"]
    assert json.loads(arguments([spec])["--last_steps"]) == ["StudyReporter"]
