import json

import pytest
from study_on_disk import ArmOnDisk, StudyOnDisk


@pytest.fixture(scope="session")
def shifted(tmp_path_factory):
    """Three arms of equal skill: two with shifted probabilities, one with a diverged replicate."""
    arms = [
        ArmOnDisk("balanced", shift=2.5, settings={"sampling_strategy": "balanced"}),
        ArmOnDisk("unbalanced", shift=-0.8, solver={"iterations": 57}),
        ArmOnDisk("oversampled", diverged={3: "loss is NaN in epoch 2"}),
    ]
    study = StudyOnDisk(tmp_path_factory.mktemp("study") / "arms", arms).write()
    folder = study.report(prevalence={"cats": 50, "dogs": 1})
    return study, folder, json.loads((folder / "study.json").read_text())
