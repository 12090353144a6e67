"""The newest kfp, `make next-kfp`, compiles the same pipeline as the locked one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from launcher import PROJECT
from test_compile import TREE, settings

from pipeline.kubeflow.compile import compile_pipeline

NEXT = PROJECT / ".next-kfp"

COMPILE = """
import sys
from pathlib import Path
import kfp
from pipeline.kubeflow.compile import compile_pipeline
from pipeline.settings import load
assert Path(kfp.__file__).is_relative_to(sys.argv[3]), kfp.__file__
compile_pipeline(load(Path(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.mark.skipif(not NEXT.is_dir(), reason="the newest kfp is installed by `make next-kfp`")
def test_the_newest_kfp_compiles_the_same_bytes(tmp_path: Path):
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(TREE, sort_keys=False))
    files = [str(tmp_path / "settings.yaml"), str(tmp_path / "next.yaml"), str(NEXT)]
    environment = {**os.environ, "PYTHONPATH": f"{NEXT}:{PROJECT}"}
    subprocess.run([sys.executable, "-c", COMPILE, *files], check=True, env=environment)
    locked = compile_pipeline(settings(), tmp_path / "locked.yaml")
    assert (tmp_path / "next.yaml").read_bytes() == locked.read_bytes()
