"""SECURITY.md names tests that exist, and no code is run by loading a file."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from components.trainer import arrays

ROOT = Path(__file__).parents[1]
NAMED = re.findall(r"\[`(test_\w+)`\]\(([\w/.]+)\)", (ROOT / "SECURITY.md").read_text("utf-8"))
SOURCES = sorted(
    path
    for folder in ("benchmarks", "components", "deploy", "pipeline")
    for path in (ROOT / folder).rglob("*.py")
)
UNSAFE = re.compile(
    r"(pickle|cPickle|cloudpickle|dill|joblib|shelve|marshal)(\..*)?"
    r"|eval|exec|os\.system|(.*\.)?(read_pickle|load_model|unsafe_load|full_load)|yaml\.load(_all)?"
)


@pytest.mark.parametrize(("test", "path"), NAMED, ids=[name for name, _ in NAMED])
def test_a_test_that_the_page_names_exists(test, path):
    assert f"\ndef {test}(" in (ROOT / path).read_text("utf-8")


def test_every_threat_names_a_test():
    rows = re.findall(r"^\| .*\|$", (ROOT / "SECURITY.md").read_text("utf-8"), re.MULTILINE)[1:]
    assert len(rows) > 10
    assert all("[`test_" in row for row in rows)


def unsafe(source: str) -> list[str]:
    """What a source imports or calls that may run code from a file."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=aliases):
                found += [alias.name for alias in aliases]
            case ast.ImportFrom(module=str(module), names=aliases):
                found += [f"{module}.{alias.name}" for alias in aliases]
            case ast.Call(func=function, keywords=keywords):
                # Keras refuses a network with code of its own in this mode.
                if not any(ast.unparse(each) == "safe_mode=True" for each in keywords):
                    found.append(ast.unparse(function))
                found += [
                    "eval"
                    for each in keywords
                    if each.arg in {"allow_pickle", "shell"} and ast.unparse(each.value) != "False"
                ]
    return [name for name in found if UNSAFE.fullmatch(name)]


def test_nothing_is_loaded_in_a_way_that_runs_code():
    assert SOURCES
    assert [path for path in SOURCES if unsafe(path.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "np.load(path, allow_pickle=True)",
        "keras.models.load_model(path)",
        "keras.models.load_model(path, safe_mode=False)",
        "yaml.load(text, Loader)",
        "subprocess.run(text, shell=True)",
        "eval(text)",
    ],
)
def test_what_could_run_code_is_found(source):
    assert unsafe(source)


def test_an_archive_of_objects_is_not_loaded(tmp_path):
    path = tmp_path / "state.npz"
    np.savez(path, scores=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        arrays.unpacked(path.read_bytes())
