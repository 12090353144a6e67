"""The short form of the faults that damage files, or change images, between two runs."""

from benchmarks.faults.__main__ import inject


def test_ten_damaged_files_and_changed_images_are_survived(tmp_path):
    found = inject(tmp_path, kinds=["damage"], each=10, seed=1)
    found_of_images = inject(tmp_path, kinds=["images"], each=1, seed=1)
    assert (found["injected"], found["survived"], found["lost"]) == (10, 10, 0)
    assert (found_of_images["injected"], found_of_images["survived"]) == (1, 1)
