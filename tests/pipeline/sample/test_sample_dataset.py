import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.sample.dataset import make_sample

SIDE = 32


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def rows_of(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("made") / "sample", images=330, side=SIDE, workers=1)


def test_manifest_lists_each_photograph_once(manifest: Path) -> None:
    listed = [row["uri"] for row in rows_of(manifest)]
    drawn = [str(path.relative_to(manifest.parent)) for path in manifest.parent.rglob("*.jpg")]
    assert sorted(listed) == sorted(drawn)
    assert len(set(listed)) == 330


def test_columns_are_the_label_and_the_slices(manifest: Path) -> None:
    assert list(rows_of(manifest)[0]) == ["uri", "label", "breed", "lighting"]


def test_a_class_has_its_photographs_in_a_folder_of_its_name(manifest: Path) -> None:
    assert all(row["uri"].startswith(f"photos/{row['label']}/") for row in rows_of(manifest))


def test_each_class_has_at_least_four_breeds_in_two_lightings(manifest: Path) -> None:
    rows = rows_of(manifest)
    for label in ("cats", "dogs"):
        of_class = [row for row in rows if row["label"] == label]
        assert len({row["breed"] for row in of_class}) >= 4
        assert {row["lighting"] for row in of_class} == {"day", "night"}


def test_a_breed_belongs_to_one_class(manifest: Path) -> None:
    classes = {(row["breed"], row["label"]) for row in rows_of(manifest)}
    assert len(classes) == len({breed for breed, _ in classes})


def test_spitz_is_the_rare_dog(manifest: Path) -> None:
    breeds = Counter(row["breed"] for row in rows_of(manifest) if row["label"] == "dogs")
    assert breeds["spitz"] == min(breeds.values()) == 3


@pytest.mark.parametrize(
    ("images", "prevalence", "counts"),
    [
        (330, (10, 1), {"cats": 300, "dogs": 30}),
        (100, (10, 1), {"cats": 91, "dogs": 9}),
        (30, (1, 1), {"cats": 15, "dogs": 15}),
        (12, (1, 3), {"cats": 3, "dogs": 9}),
        (6, (10, 1), {"cats": 5, "dogs": 1}),
    ],
)
def test_counts_follow_the_prevalence(
    tmp_path: Path, images: int, prevalence: tuple[int, int], counts: dict[str, int]
) -> None:
    manifest = make_sample(
        tmp_path / "s", images=images, prevalence=prevalence, side=SIDE, workers=1
    )
    assert Counter(row["label"] for row in rows_of(manifest)) == counts


@pytest.mark.parametrize("side", [32, 50, 128])
def test_photographs_are_rgb_of_the_requested_side(tmp_path: Path, side: int) -> None:
    manifest = make_sample(tmp_path / "s", images=22, side=side, workers=1)
    for row in rows_of(manifest):
        with Image.open(manifest.parent / row["uri"]) as image:
            image.load()
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (side, side))


def test_night_is_darker_than_day(manifest: Path) -> None:
    light: dict[str, list[float]] = {"day": [], "night": []}
    for row in rows_of(manifest):
        with Image.open(manifest.parent / row["uri"]) as image:
            light[row["lighting"]].append(float(np.asarray(image).mean()))
    assert np.mean(light["night"]) < 0.6 * np.mean(light["day"])


def test_no_two_photographs_are_the_same(manifest: Path) -> None:
    photographs = [path.read_bytes() for path in manifest.parent.rglob("*.jpg")]
    assert len(set(photographs)) == len(photographs)


def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    folders = [tmp_path / str(workers) for workers in (1, 2, 3)]
    for workers, folder in enumerate(folders, start=1):
        make_sample(folder, images=110, side=SIDE, workers=workers)
    first, *others = map(files_of, folders)
    assert len(first) == 112
    assert all(other == first for other in others)


def test_another_random_state_draws_no_photograph_again(manifest: Path, tmp_path: Path) -> None:
    # 21 multiples of the golden ratio nearly come full circle: most breeds stay the same, so
    # only the drawing itself can tell the photographs apart.
    other = make_sample(tmp_path / "s", images=110, side=SIDE, workers=1, random_state=21)
    first, second = (
        {path.read_bytes() for path in made.parent.rglob("*.jpg")} for made in (manifest, other)
    )
    assert len(second) == 110
    assert not first & second


def test_larger_data_set_contains_the_smaller_one(manifest: Path, tmp_path: Path) -> None:
    smaller = files_of(make_sample(tmp_path / "s", images=22, side=SIDE, workers=1).parent)
    larger = files_of(manifest.parent)
    photographs = [name for name in smaller if name.endswith(".jpg")]
    assert len(photographs) == 22
    assert all(smaller[name] == larger[name] for name in photographs)


def test_progress_ends_at_the_number_of_images(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    make_sample(
        tmp_path / "s",
        images=100,
        side=SIDE,
        workers=1,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert len(calls) > 1
    assert calls == sorted(calls)
    assert calls[-1] == (100, 100)


def test_existing_sample_is_kept_as_it_is(tmp_path: Path) -> None:
    first = make_sample(tmp_path / "s", images=22, side=SIDE, workers=1)
    written = first.stat().st_mtime_ns
    again = make_sample(
        tmp_path / "s",
        images=22,
        side=SIDE,
        workers=1,
        progress=lambda done, total: pytest.fail("it was drawn again"),
    )
    assert again == first
    assert again.stat().st_mtime_ns == written


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    assert len(rows_of(make_sample(folder, images=22, side=SIDE, workers=1))) == 22


@pytest.mark.parametrize(
    "change", [{"images": 33}, {"side": 48}, {"random_state": 1}, {"prevalence": (5, 1)}]
)
def test_sample_with_other_parameters_is_not_overwritten(tmp_path: Path, change: dict) -> None:
    parameters = {"images": 22, "side": SIDE, "workers": 1}
    make_sample(tmp_path / "s", **parameters)
    before = files_of(tmp_path)
    with pytest.raises(FileExistsError, match=f"another sample.*{next(iter(change))}="):
        make_sample(tmp_path / "s", **{**parameters, **change})
    assert files_of(tmp_path) == before


def test_sample_of_another_format_is_rejected(tmp_path: Path) -> None:
    parameters = {"images": 22, "side": SIDE, "workers": 1}
    record = make_sample(tmp_path / "s", **parameters).parent / "sample.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "format": 0}))
    with pytest.raises(FileExistsError, match="format=0"):
        make_sample(tmp_path / "s", **parameters)


def test_folder_with_other_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not a sample data set"):
        make_sample(tmp_path, images=22, side=SIDE, workers=1)
    assert files_of(tmp_path) == {"holiday.txt": b"mine"}


def test_file_at_the_folder_s_path_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(FileExistsError, match="is not a sample data set"):
        make_sample(tmp_path / "s", images=22, side=SIDE, workers=1)
    assert (tmp_path / "s").read_text() == "mine"


@pytest.mark.parametrize("lost", ["photos/dogs/dogs-000000.jpg", "manifest.csv", "photos"])
def test_incomplete_sample_is_rejected(tmp_path: Path, lost: str) -> None:
    folder = make_sample(tmp_path / "s", images=22, side=SIDE, workers=1).parent
    shutil.rmtree(folder / lost) if lost == "photos" else (folder / lost).unlink()
    with pytest.raises(FileExistsError, match="is an incomplete sample"):
        make_sample(folder, images=22, side=SIDE, workers=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 0}, "images must be a whole number, 2 or more. Received: 0"),
        (
            {"images": 5},
            "images must be at least 11 at a prevalence of 10:1.*Received: 5.*'dogs': 0",
        ),
        ({"images": 22.0}, "images must be a whole number.*Received: 22.0"),
        ({"side": 31}, "side must be a whole number, from 32 to 1024. Received: 31"),
        ({"side": 2000}, "side must be .* Received: 2000"),
        ({"random_state": -1}, "random_state must be .* 0 or more. Received: -1"),
        ({"workers": 0}, "workers must be .* 1 or more. Received: 0"),
        ({"prevalence": (10, 0)}, "each weight of prevalence must be .* Received: 0"),
        ({"prevalence": (10,)}, "prevalence must be two weights"),
    ],
)
def test_invalid_argument_is_named_and_nothing_is_created(
    tmp_path: Path, change: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_sample(tmp_path / "s", **{"images": 22, "side": SIDE, "workers": 1, **change})
    assert list(tmp_path.iterdir()) == []
