import numpy as np
import pandas as pd

from components.evaluator import slice_wording, worst_slices
from components.evaluator.slice_choice import Choice


def predictions() -> pd.DataFrame:
    """200 positives: of 20 pugs 8 are missed, of 180 others 10; each is of another patient."""
    missed = np.repeat([True, False, True, False], [8, 12, 10, 170])
    return pd.DataFrame(
        {
            "label": 1,
            "is_positive": (~missed).astype(int),
            "class_name": "dogs",
            "breed": np.repeat(["pug", "beagle", "collie"], [20, 90, 90]),
            "patient": [f"{number * 7:04}" for number in range(200)],
        }
    )


def test_the_slices_are_searched_and_described():
    found = worst_slices.summarize(predictions(), Choice(groups=[["breed"]]))
    worst = found["worst_slices"][0]
    assert (worst["slice"], worst["found"]) == ({"breed": "pug"}, True)
    assert found["slice_search"] == {"looked_at": 3, "found": 1, "false_discovery_rate": 0.05}
    assert slice_wording.sentence(found) == (
        "breed = pug: recall 0.600 (0.944 on the rest), 20 positive images, "
        f"q = {worst['q']:.2g}, of 3 slices and crosses of two"
    )


def test_if_none_is_found_the_sentence_says_so():
    rows = predictions().assign(is_positive=1)
    found = worst_slices.summarize(rows, Choice(groups=[["breed"]]))
    assert slice_wording.sentence(found) == (
        "none of 0 slices and crosses of two is certainly worse than the rest"
    )


def test_a_column_with_too_many_values_is_not_searched_and_the_summary_says_so():
    rows = pd.concat([predictions()] * 6, ignore_index=True)
    rows["patient"] = [f"{number:05}" for number in range(len(rows))]
    found = worst_slices.summarize(rows, Choice(groups=[["breed"], ["patient"]]))
    assert "1,200 values, and columns of at most 1,000" in found["slices_left_out"]["patient"]
    assert all("patient" not in row["slice"] for row in found["worst_slices"])
