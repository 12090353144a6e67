from components.image_example_gen.read_images import ReadImages
from components.image_example_gen.shards import IngestedImage, Outcome
from components.image_example_gen.verdict import Refusal


def image(row: int) -> IngestedImage:
    return IngestedImage(row, f"{row:064x}", "0" * 16, 100 + row, 0.5, row / 3)


def test_columns_hold_the_images_of_all_shards_and_which_are_of_each():
    refusal = Refusal(1, "empty", "0 bytes")
    outcomes = [Outcome([image(0), image(2)], [refusal]), Outcome([], []), Outcome([image(3)], [])]
    read = ReadImages.of(outcomes)
    assert [images["row"].tolist() for images in read.by_shard()] == [[0, 2], [], [3]]
    assert read.refusals == [refusal]
    last = read.images[-1]
    assert last["digest"] == bytes.fromhex(image(3).image_id)
    assert (last["image_size"], last["brightness"], last["sharpness"]) == (103, 0.5, 1.0)


def test_a_part_may_have_no_shard():
    read = ReadImages.of([])
    assert len(read.images) == 0
    assert list(read.by_shard()) == []
