"""The compiled step that reads images takes spans, and reads each of them once."""

from pathlib import Path
from typing import Any

import pytest
from launcher import Cluster, Step
from pictures_on_disk import write_pictures
from store_on_localhost import ARTIFACTS, PHOTOS, ObjectStore

from pipeline.kubeflow.compile import compile_pipeline
from pipeline.settings import parse

PREFIX = "spans-of-test"
ROOT = "root-of-spans"


@pytest.fixture
def settings(tree: dict[str, Any]) -> dict[str, Any]:
    """Settings of a pipeline that takes all spans of a bucket."""
    source = f"s3://{PHOTOS}/{PREFIX}/{{SPAN}}"
    tree["data"] = {"source": source, "window": "all", "positive_class": "dogs"}
    splits = ("train", "val", "test")
    tree["sampler"] = {"splits": {split: {"cats": 2, "dogs": 1} for split in splits}}
    tree["kubeflow"] |= {"pipeline_root": f"s3://{ARTIFACTS}/{ROOT}", "retries": {"count": 0}}
    return tree


def add_span(store: ObjectStore, folder: Path, span: str) -> None:
    seed = 1000 * int(span.replace("-", ""))
    write_pictures(folder / span / "cats", 6, first_seed=seed)
    write_pictures(folder / span / "dogs", 3, first_seed=seed + 100)
    store.upload(folder / span, PHOTOS, f"{PREFIX}/{span}")


def test_a_compiled_step_reads_only_the_spans_that_no_earlier_run_has_read(
    cluster: Cluster, object_store: ObjectStore, settings: dict[str, Any], tmp_path: Path
):
    package = compile_pipeline(parse(settings, origin="test"), tmp_path / "small.yaml")

    def run(span: str = "") -> Step:
        parameters = {"span": span} if span else {}
        return cluster.run_step(package, "ImageExampleGen", {}, parameters)

    for span in ("2026-11-20", "2026-11-27"):
        add_span(object_store, tmp_path, span)
    assert images_read(run()) == 18
    kept = object_store.names(ARTIFACTS, f"{ROOT}/spans/small/")
    assert {name.split("/")[3][:10] for name in kept} == {"2026-11-20", "2026-11-27"}
    add_span(object_store, tmp_path, "2026-12-04")
    assert images_read(run()) == 9
    assert images_read(run("2026-11-27")) == 0


def images_read(step: Step) -> int:
    return int(step.outputs["examples"]["metadata"]["images_read"])
