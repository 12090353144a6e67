import json

import numpy as np

from benchmarks import label_doubt, photo_features

IMAGES, FEATURES, WRONG = 60, 4, "dogs/0.jpg"


def test_the_places_of_a_wrong_label_and_of_exchanged_ones_are_printed(
    tmp_path, monkeypatch, capsys
):
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        for number in range(IMAGES // 2):
            (tmp_path / name / f"{number}.jpg").touch()

    def read(photos, uris, backbone, *, kept):
        dogs = np.array([uri.startswith("dogs") and uri != WRONG for uri in uris])
        noise = np.random.default_rng(0).normal(scale=0.5, size=(IMAGES, FEATURES))
        return (noise + 4.0 * dogs[:, None]).astype(np.float32)[:, None], None

    monkeypatch.setattr(photo_features, "read", read)
    label_doubt.main(["--photos", str(tmp_path), "--wrong", WRONG, "--exchanged", "3"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["images"], found["wrong_without_features"]) == (IMAGES, {WRONG: 1})
    assert found["wrong"][WRONG] <= 4
    assert found["exchanged_found"] >= 2
