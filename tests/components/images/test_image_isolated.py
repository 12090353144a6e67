"""An image that ends its reader, or takes too much time or memory, costs that image only."""

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from pictures_on_disk import encoded, picture

from components.images import isolated, reader
from components.images.child_process import Children
from components.images.reader import RefusedImageError

GIF = encoded(picture(1).quantize(64), "GIF")

# The reader of this child does what the end of the file says, as a flawed decoder might.
_FLAWED = """
import os, signal
from components.images import child, reader
read_image = reader.read_image

def flawed(data, **limits):
    if data.endswith(b"crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if data.endswith(b"kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    while data.endswith(b"spin"):
        pass
    if data.endswith(b"eat"):
        bytearray(1 << 40)
    if data.endswith(b"print"):
        os.write(1, b"a warning of a library")
    if data.endswith(b"variables"):
        raise reader.RefusedImageError("variables", " ".join(sorted(os.environ)))
    return read_image(data, **limits)

reader.read_image = flawed
child._CPU_SECONDS = 0
child.main()
"""


@pytest.fixture(scope="module", autouse=True)
def flawed_children():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(isolated, "_children", Children((sys.executable, "-c", _FLAWED)))
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield


REFUSALS = {
    b"crash": ("undecodable", r"its decoder crashed \(SIGSEGV\)"),
    b"kill": ("too_large", r"was killed \(SIGKILL\)"),
    b"spin": ("too_slow", "too much CPU time"),
    b"eat": ("too_large", "too much memory"),
}


@pytest.mark.parametrize("flaw", REFUSALS)
def test_an_image_that_a_decoder_fails_on_is_refused_and_the_next_one_is_read(flaw):
    reason, detail = REFUSALS[flaw]
    with pytest.raises(RefusedImageError, match=detail) as error:
        isolated.read_image(GIF + flaw)
    assert error.value.reason == reason
    assert isolated.read_image(GIF) == reader.read_image(GIF)


def test_what_a_library_prints_is_not_part_of_the_answer():
    assert isolated.read_image(GIF + b"print") == reader.read_image(GIF)


def test_a_child_has_none_of_the_secrets_in_the_environment():
    with pytest.raises(RefusedImageError) as error:
        isolated.read_image(GIF + b"variables")
    assert "PYTHONPATH" in error.value.detail
    assert "AWS_SECRET_ACCESS_KEY" not in error.value.detail


def test_a_refusal_is_the_same_as_the_readers():
    with pytest.raises(RefusedImageError) as direct:
        reader.read_image(b"no image")
    with pytest.raises(RefusedImageError) as isolated_error:
        isolated.read_image(b"no image")
    assert str(isolated_error.value) == str(direct.value)


def test_small_jpegs_and_pngs_are_read_without_a_child(monkeypatch):
    monkeypatch.setattr(isolated, "_children", Children(["false"]))
    for kind in ("JPEG", "PNG"):
        data = encoded(picture(2), kind)
        assert isolated.read_image(data) == reader.read_image(data)
    with pytest.raises(RuntimeError, match="did not start; its exit code is 1"):
        isolated.read_image(encoded(picture(2)) + bytes(4 << 20))


def test_threads_have_a_child_each_which_are_used_again():
    with ThreadPoolExecutor(2) as threads:
        images = list(threads.map(isolated.read_image, [GIF] * 20))
    assert images == [reader.read_image(GIF)] * 20
    assert 1 <= len(isolated._children._idle) <= 2


def test_children_that_ended_between_two_images_are_replaced():
    isolated._children.start(2)
    for child in isolated._children._idle:
        os.kill(child._process.pid, signal.SIGKILL)
        child._process.wait()
    assert isolated.read_image(GIF) == reader.read_image(GIF)


def test_idle_children_end_when_they_are_no_longer_needed():
    assert isolated.read_image(GIF) == reader.read_image(GIF)
    children = [*isolated._children._idle]
    os.kill(children[0]._process.pid, signal.SIGKILL)
    isolated.end_children()
    assert isolated._children._idle == []
    assert all(child._process.returncode is not None for child in children)
    assert isolated.read_image(GIF) == reader.read_image(GIF)
