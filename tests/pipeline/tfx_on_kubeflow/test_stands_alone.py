"""The package for all TFX users imports nothing else of this project."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import tfx_on_kubeflow

FOLDER = Path(tfx_on_kubeflow.__file__).parent
OWN = {"benchmarks", "components", "gateway", "pipeline"}


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.name)
def test_a_module_imports_nothing_of_the_project(path: Path):
    names = set(imported(ast.parse(path.read_text())))
    ours = {name for name in names if name.partition(".")[0] in OWN}
    assert {name for name in ours if not name.startswith("pipeline.tfx_on_kubeflow")} == set()
