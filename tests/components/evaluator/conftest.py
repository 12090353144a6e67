import collections

import numpy as np
import pytest
from evaluation_on_disk import Evaluation, some_rows

from components.example_validator import findings

ANOMALY = {"feature": "width", "kind": "out of range", "found": "3 to 9", "expected": "50 to 800"}


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory) -> Evaluation:
    """A finished evaluation of 440 images, several of them exactly at the threshold."""
    rows = some_rows()
    threshold = 0.48
    breeds = collections.Counter(row.columns["breed"] for row in rows if row.label)
    largest = max(breeds.values())
    assert largest > min(breeds.values())
    assert any(row.probability == np.float32(threshold) for row in rows)
    return (
        Evaluation(
            root=tmp_path_factory.mktemp("evaluated"),
            rows=rows,
            threshold=threshold,
            slices=[["breed"], ["light", "breed"], ["patient"]],
            bands=["brightness", "sharpness"],
            slice_columns={
                "bands": {"brightness": [100.5, 180.25], "sharpness": None, "image_size": None},
                "values": {"breed": 5, "light": 2, "patient": 4812},
            },
            gates=[
                "recall >= 0.1",
                "precision >= 0.99 at prevalence",
                "anomalies <= 1",
                f"recall >= 0.1 in every breed with at least {largest} images, or too few images",
            ],
            data_check=findings.of_check({"version": 1, "folder": "schema"}, [ANOMALY] * 2),
        )
        .prepare()
        .run()
    )
