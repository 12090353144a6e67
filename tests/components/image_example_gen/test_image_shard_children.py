"""Child processes ingest whole shards with the same results, and what they can't do is not lost."""

import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pictures_on_disk import encoded, picture

from components.image_example_gen import files, shard_children, shards
from components.image_example_gen.shards import Rules, Staging
from components.image_example_gen.sources import ImageRecord
from components.images import isolated
from components.images.child_process import Children
from components.stores import StoreError

RULES = Rules(positive_class="dogs", max_side=0, max_pixels=50_000_000)

# The reader of these processes does what the end of a file says, as a flawed decoder might.
_FLAWED = """
import os, signal
from components.images import child, reader
from {module} import main
decoded = reader._decoded

def flawed(data, *limits):
    if data.endswith(b"crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if data.endswith(b"kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    while data.endswith(b"spin"):
        pass
    return decoded(data, *limits)

reader._decoded = flawed
child._CPU_SECONDS = 0
main()
"""


def flawed(module: str) -> Children:
    return Children((sys.executable, "-c", _FLAWED.format(module=module)))


@pytest.fixture(scope="module", autouse=True)
def flawed_children():
    with pytest.MonkeyPatch.context() as patch:
        shard_child = flawed("components.image_example_gen.shard_child")
        patch.setattr(shard_children, "_children", shard_child)
        patch.setattr(isolated, "_children", flawed("components.images.child"))
        yield
        shard_children.end()


def staged(folder, *ends: bytes, root: str = "") -> Staging:
    """A staging folder with a shard of three images for each end of its second image's file."""
    folder.mkdir()
    staging = Staging(str(folder))
    for shard, end in enumerate(ends):
        records = []
        for number in range(3):
            path = folder / f"{shard}-{number}.jpg"
            path.write_bytes(encoded(picture(number)) + (end if number == 1 else b""))
            uri = f"cats/{shard}-{number}.jpg"
            path_of_root = f"{root}{path}"
            records.append(ImageRecord(uri, path_of_root, "cats", (), path.stat().st_size, 0))
        staging.write_listing(shard, 3 * shard, records)
    return staging


@pytest.fixture(params=["", "s3://bucket"], ids=["disk", "bucket"])
def root(request, monkeypatch) -> str:
    """What precedes the paths of files on disk, of which some are in a bucket."""
    read = files.read_bytes
    monkeypatch.setattr(files, "read_bytes", lambda path: read(path.removeprefix(request.param)))
    return request.param


def contents(staging: Staging, shard: int) -> list[bytes | object]:
    with open(staging.examples(shard), "rb") as file:
        return [file.read(), staging.read_entry(shard), staging.read_outcome(shard)]


def test_shards_are_those_of_one_process(tmp_path, root, monkeypatch):
    staging = staged(tmp_path / "s", *[b""] * 9, root=root)
    (tmp_path / "s" / "3-1.jpg").unlink()
    shard_children.ingest(range(9), staging, RULES)
    found = [contents(staging, shard) for shard in range(9)]
    for shard in range(9):
        staging.remove_examples(shard)
    monkeypatch.setattr(shards, "ingest", None)  # not used by this process any more
    shard_children.ingest(range(9), staging, RULES, workers=2)
    assert [contents(staging, shard) for shard in range(9)] == found
    assert [refusal.reason for refusal in staging.read_outcome(3).refusals] == ["missing"]


@pytest.mark.parametrize(
    ("flaw", "reason"), [(b"crash", "undecodable"), (b"kill", "too_large"), (b"spin", "too_slow")]
)
def test_an_image_that_ends_the_child_process_of_its_shard_is_refused_alone(
    flaw, reason, tmp_path, root
):
    staging = staged(tmp_path / "s", b"", flaw, b"", root=root)
    shard_children.ingest(range(3), staging, RULES, workers=2)
    outcomes = [staging.read_outcome(shard) for shard in range(3)]
    assert [[image.row for image in each.ingested] for each in outcomes] == [
        [0, 1, 2],
        [3, 5],
        [6, 7, 8],
    ]
    (refusal,) = outcomes[1].refusals
    assert (refusal.row, refusal.reason) == (4, reason)


def test_a_child_process_that_is_killed_loses_nothing(tmp_path, root):
    staging = staged(tmp_path / "s", *[b""] * 40, root=root)
    shard_children.start(1)
    (child,) = shard_children._children._idle[-1:]
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(shard_children.ingest, range(40), staging, RULES, 2)
        while not staging.finished() and not done.done():
            os.sched_yield()
        os.kill(child._process.pid, signal.SIGKILL)
        done.result()
    outcomes = [staging.read_outcome(shard) for shard in range(40)]
    assert [image.row for each in outcomes for image in each.ingested] == [*range(120)]


def test_what_a_store_does_not_give_ends_the_ingestion_at_once(tmp_path, monkeypatch):
    """While one child process waits for an image, the error of another's image is raised."""
    staging = staged(tmp_path / "s", *[b""] * 100, root="s3://bucket")
    asked, read, unanswered = [], files.read_bytes, threading.Event()

    def of_store(path: str) -> bytes:
        asked.append(path)
        if path.endswith("/0-2.jpg"):
            assert unanswered.wait(timeout=60)
        if re.search(r"/[3-9]\d-1\.jpg$", path):  # one of them is in the other's shards
            raise StoreError(f"{path} can't be read")
        return read(path.removeprefix("s3://bucket"))

    monkeypatch.setattr(files, "read_bytes", of_store)
    with pytest.raises(StoreError, match=r"-1\.jpg can't be read"):
        shard_children.ingest(range(100), staging, RULES, workers=2)
    unanswered.set()
    assert len(asked) < 300


def test_an_error_is_raised_by_this_process(tmp_path, root):
    staging = staged(tmp_path / "s", b"", root=root)
    os.mkdir(staging.examples(0))  # so that the shard can't get its name
    with pytest.raises(OSError, match="examples-00000"):
        shard_children.ingest([0], staging, RULES, workers=2)


def test_a_child_process_imports_neither_tensorflow_nor_beam():
    program = (
        "import sys, components.image_example_gen.shard_child; "
        "sys.exit(bool({'tensorflow', 'tfx', 'apache_beam'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
