import pytest

from components import artifact_files
from components.image_example_gen import spans_file
from components.image_example_gen.spans_file import KeptImage, summarize

CAT, DOG, SECOND_CAT = (
    KeptImage("a" * 64, "cats", is_positive=False),
    KeptImage("b" * 64, "dogs", is_positive=True),
    KeptImage("c" * 64, "cats", is_positive=False),
)


def test_each_span_is_counted_and_all_together():
    record = summarize({"1": [CAT, DOG], "2": [SECOND_CAT]})
    assert [(span.span, span.images, span.positives) for span in record.spans] == [
        ("1", 2, 1),
        ("2", 1, 0),
    ]
    assert (record.images, record.positives) == (3, 1)


def test_the_digest_of_all_depends_on_the_images_and_neither_on_spans_nor_on_order():
    divided = summarize({"1": [CAT, DOG], "2": [SECOND_CAT]})
    whole = summarize({"": [SECOND_CAT, DOG, CAT]})
    relabelled = summarize({"": [SECOND_CAT, DOG, CAT._replace(class_name="dogs")]})
    assert divided.digest == whole.digest == whole.spans[0].digest
    assert len({span.digest for span in divided.spans} | {whole.digest, relabelled.digest}) == 4


def test_the_file_is_read_as_it_was_written_and_damage_is_noticed(tmp_path):
    record = summarize({"2026-11-27": [CAT, DOG]})
    entry = spans_file.write(record, str(tmp_path))
    artifact_files.write_list(str(tmp_path), [entry], check_digests=True)
    assert spans_file.read(str(tmp_path)) == record
    path = tmp_path / spans_file.FILE
    path.write_text(path.read_text().replace('"images": 2', '"images": 3'))
    with pytest.raises(artifact_files.DamagedArtifactError, match=r"SHA-256"):
        spans_file.read(str(tmp_path))


def test_examples_of_an_older_version_have_no_record(tmp_path):
    artifact_files.write_list(str(tmp_path), [], check_digests=True)
    assert spans_file.read(str(tmp_path)) is None
