"""A compiled pipeline is identified by its content, and its parameters have types."""

from pathlib import Path

import pytest
import yaml

from pipeline.kubeflow import package
from pipeline.kubeflow.errors import UsageError

SPEC = {
    "pipelineInfo": {"name": "cats-vs-dogs"},
    "root": {
        "dag": {"tasks": {}},
        "inputDefinitions": {
            "parameters": {
                "epochs": {"parameterType": "NUMBER_INTEGER"},
                "learning_rate": {"parameterType": "NUMBER_DOUBLE"},
                "model": {"parameterType": "STRING"},
                "augment": {"parameterType": "BOOLEAN"},
                "slices": {"parameterType": "LIST"},
            }
        },
    },
}
PLATFORM = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {}}}}}


def written(path: Path, *documents: object, **style: object) -> package.Package:
    path.write_text(yaml.safe_dump_all(documents, **style))
    return package.read(path)


@pytest.fixture
def compiled(tmp_path: Path) -> package.Package:
    return written(tmp_path / "pipeline.yaml", SPEC, PLATFORM)


def test_the_digest_depends_on_the_content_only(compiled, tmp_path):
    other = written(
        tmp_path / "other.yaml", SPEC, PLATFORM, sort_keys=False, default_flow_style=True
    )
    assert compiled.digest == other.digest
    assert compiled.version_name == f"cats-vs-dogs-{compiled.digest}"


def test_the_digest_changes_with_either_document(compiled, tmp_path):
    changed = {**SPEC, "schemaVersion": "2.1.0"}
    digests = {
        compiled.digest,
        written(tmp_path / "1.yaml", changed, PLATFORM).digest,
        written(tmp_path / "2.yaml", SPEC, {"platforms": {}}).digest,
        written(tmp_path / "3.yaml", SPEC).digest,
    }
    assert len(digests) == 4


def test_arguments_have_the_declared_types(compiled):
    texts = ["epochs=5", "learning_rate=1", "model=007", "augment=true", "slices=[a, b]"]
    assert compiled.arguments(texts) == {
        "epochs": 5,
        "learning_rate": 1,
        "model": "007",
        "augment": True,
        "slices": ["a", "b"],
    }


def test_an_argument_may_contain_an_equals_sign_or_be_empty(compiled):
    assert compiled.arguments(["model=a=b"]) == {"model": "a=b"}
    assert compiled.arguments(["model="]) == {"model": ""}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch=5", "did you mean 'epochs'"),
        ("epochs", "must be name=value"),
        ("=5", "must be name=value"),
        ("epochs=5.5", "type NUMBER_INTEGER. Received: 5.5"),
        ("epochs=true", "type NUMBER_INTEGER. Received: True"),
        ("learning_rate=high", "type NUMBER_DOUBLE. Received: 'high'"),
        ("augment=1", "type BOOLEAN. Received: 1"),
        ("slices=[a", "not valid YAML"),
    ],
)
def test_an_invalid_argument_is_rejected_by_name(compiled, text, message):
    with pytest.raises(UsageError, match=message):
        compiled.arguments([text])


WITHOUT_INPUTS = "pipelineInfo: {name: x}\nroot: "


@pytest.mark.parametrize(
    "content",
    [
        *("", "[1, 2]", "name: x", "a: [", "kind: Workflow\nspec: {}"),
        "pipelineInfo: {name: 2026-01-01}\nroot: {}",
        WITHOUT_INPUTS + "{inputDefinitions: 2026-01-01}",
        WITHOUT_INPUTS + "{inputDefinitions: {parameters: [a]}}",
        WITHOUT_INPUTS + "{inputDefinitions: {parameters: {epochs: 3}}}",
        WITHOUT_INPUTS + "{inputDefinitions: {parameters: {epochs: {parameterType: [a]}}}}",
    ],
)
def test_a_file_that_is_not_a_compiled_pipeline_is_rejected(content, tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"pipeline\.yaml"):
        package.read(path)


def test_a_file_that_does_not_exist_or_is_not_yaml_is_rejected(tmp_path):
    with pytest.raises(UsageError, match="can't be read"):
        package.read(tmp_path / "nowhere.yaml")
    with pytest.raises(UsageError, match=r"must end in \.yaml"):
        package.read(tmp_path / "pipeline.json")


def test_an_argument_with_two_values_is_rejected(compiled):
    assert compiled.arguments(["epochs=5", "epochs=5"]) == {"epochs": 5}
    with pytest.raises(UsageError, match=r"epochs must be given once\. Received: 5 and 6"):
        compiled.arguments(["epochs=5", "epochs=6"])


@pytest.mark.parametrize("text", ["pipelineInfo: a\nroot: b", "root: {}\nroot: {}", "- a"])
def test_yaml_with_other_content_is_rejected(tmp_path, text):
    (tmp_path / "pipeline.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"pipeline\.yaml"):
        package.read(tmp_path / "pipeline.yaml")
