"""The short form of the faults that damage files, or change images, between two runs."""

from benchmarks.faults.__main__ import inject


def test_damaged_files_and_changed_images_are_survived(tmp_path):
    found = inject(tmp_path, kinds=["damage", "images"], each=10, seed=1, short=True)
    assert found["kinds"] == {
        "damage": {"injected": 10, "survived": 10, "lost": 0},
        "images": {"injected": 5, "survived": 5, "lost": 0},
    }
