import hashlib
import json

import numpy as np
import pytest

from components import artifact_files
from components.image_example_gen import spans_file
from components.image_example_gen.spans_file import DataRecord, KeptImages

CAT, DOG, SECOND_CAT = (b"\x0a" * 32, 0), (b"\x0b" * 31 + b"\0", 1), (b"\x0c" * 32, 0)


def summarize(kept) -> DataRecord:
    columns = {
        span: KeptImages(
            np.array([digest for digest, _ in images], "S32"),
            np.array([number for _, number in images]),
        )
        for span, images in kept.items()
    }
    return spans_file.summarize(columns, class_names=["cats", "dogs"], positive_class="dogs")


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
    relabelled = summarize({"": [SECOND_CAT, DOG, (CAT[0], 1)]})
    assert divided.digest == whole.digest == whole.spans[0].digest
    assert len({span.digest for span in divided.spans} | {whole.digest, relabelled.digest}) == 4


def test_the_digest_is_that_of_the_identities_in_hex_and_the_classes():
    lines = [[CAT[0].hex(), "cats"], [DOG[0].hex(), "dogs"]]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    assert summarize({"": [DOG, CAT]}).digest == hashlib.sha256(content.encode()).hexdigest()


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
