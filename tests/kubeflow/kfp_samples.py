"""Settings and a compiled pipeline for the tests of the commands."""

import contextlib
from pathlib import Path

import yaml
from kfp import compiler, dsl, kubernetes

from pipeline.kubeflow.settings import Kubeflow

IMAGE = "registry.example.com/outnumbered:1.0.0"
ROOT = "s3://bucket/outnumbered"

SETTINGS = """
name: cats-vs-dogs
data: {{source: {source}, positive_class: dogs}}
sampler:
  splits:
    train: {{cats: 2, dogs: 1}}
    val: {{cats: 2, dogs: 1}}
    test: {{cats: 2, dogs: 1}}
"""


def section(host: str | None, **more: object) -> Kubeflow:
    """The section `kubeflow` of the settings."""
    return Kubeflow.model_validate({"image": IMAGE, "pipeline_root": ROOT, "host": host, **more})


def write_settings(folder: Path, **kubeflow: object) -> Path:
    """Writes a settings file, without a section `kubeflow` if no value of it is given."""
    text = SETTINGS.format(source=folder / "photos")
    if kubeflow:
        given = {"image": IMAGE, "pipeline_root": ROOT, **kubeflow}
        text += yaml.safe_dump({"kubeflow": given})
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


def write_package(path: Path, *, message: str = "hello", in_exit_handler: bool = False) -> Path:
    """Writes a pipeline of one step, compiled by kfp, with a second document for Kubernetes."""

    @dsl.container_component
    def trainer(epochs: int):
        return dsl.ContainerSpec(image=IMAGE, command=["echo", message], args=[str(epochs)])

    @dsl.container_component
    def teller():
        return dsl.ContainerSpec(image=IMAGE, command=["echo", "bye"])

    @dsl.pipeline(name="cats-vs-dogs")
    def whole(
        epochs: int = 5, learning_rate: float = 0.001, model: str = "cnn", data_version: str = ""
    ):
        around = dsl.ExitHandler(teller()) if in_exit_handler else contextlib.nullcontext()
        with around:
            step = trainer(epochs=epochs)
            kubernetes.add_node_selector(step, "pool", "gpu")

    compiler.Compiler().compile(whole, str(path))
    return path
