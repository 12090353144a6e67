"""The line that tells why a step failed."""

import pytest

from pipeline.tfx_on_kubeflow import failure

HINT = "; read the traceback in the step's log"
BEAM = """Traceback (most recent call last):
  File "worker.py", line 3, in process
    raise {error}
{error} [while running 'Read images']
"""


class OurError(Exception):
    """An error with words."""


OurError.__module__ = "ours.images"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OurError("no images\n in a/;  add some"), "no images in a/; add some"),
        (OurError(), f"ours.images.OurError{HINT}"),
        (KeyError("label"), f"KeyError: 'label'{HINT}"),
        (MemoryError(), f"MemoryError{HINT}"),
        (ValueError("bad [while running 'Read']"), f"ValueError: bad{HINT}"),
        (RuntimeError(BEAM.format(error="ours.images.OurError: no images")), "no images"),
        (RuntimeError(BEAM.format(error="TypeError: no len()")), f"TypeError: no len(){HINT}"),
    ],
)
def test_own_errors_speak_for_themselves_and_others_refer_to_the_log(error, words):
    assert failure.describe("Trainer", error, {"ours"}) == f"Trainer failed: {words}"


def test_an_error_of_a_package_that_does_not_explain_its_errors_has_its_type():
    assert failure.describe("Trainer", OurError("x")) == (
        f"Trainer failed: ours.images.OurError: x{HINT}"
    )


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "termination-log"
    path.write_text("of the attempt before")
    monkeypatch.setenv(failure.PATH_VARIABLE, str(path))
    return path


@pytest.mark.parametrize("offset", range(9))
def test_a_long_message_is_cut_between_characters_and_keeps_its_ends(file, offset):
    ends = "x" * offset
    failure.write(f"{ends}{'é€😀' * 1000}{ends}")
    content = file.read_bytes()
    assert failure.MAX_BYTES - 8 <= len(content) <= failure.MAX_BYTES
    text = content.decode()
    assert text.startswith(f"{ends}é€😀")
    assert text.endswith(f"é€😀{ends}")
    assert set(text) <= set("xé€😀 …")


def test_a_message_that_fits_replaces_the_file(file):
    failure.write("é" * 2048)
    assert file.read_text() == "é" * 2048
    failure.write("why \udcff")  # a name of a file that is not UTF-8
    assert file.read_text() == "why ?"


def test_the_hint_survives_the_cut(file):
    failure.write(failure.describe("Trainer", ValueError("€" * 9000)))
    assert file.read_text().endswith(HINT)


def test_a_missing_file_is_not_made_and_an_unwritable_one_is_ignored(file, tmp_path, monkeypatch):
    file.unlink()
    failure.write("why")
    assert not file.exists()
    monkeypatch.setenv(failure.PATH_VARIABLE, str(tmp_path))
    failure.write("why")
