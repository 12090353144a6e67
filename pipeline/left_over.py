"""Removes what killed runs left in an output folder, and their temporary files.

Called while the run holds the lock of the folder, so that no other run is using it.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from components.in_progress import remove, remove_abandoned

_PREFIX = "outnumbered-"
_RECORD = "temporary"
_MARK = ".output"


class TemporaryFolderError(RuntimeError):
    """No folder for temporary files can be written to; the message says what to do."""


def remove_files(output: Path) -> None:
    """Removes files that were being written."""
    for folder in (output, output / "tfx", *output.glob("runs/*")):
        remove_abandoned(folder.glob(".*@*"))


def remove_outputs(output: Path, finished: Iterable[str]) -> list[str]:
    """Removes the outputs of steps that did not finish, and what TFX keeps about running steps.

    Args:
      output: the output folder.
      finished: the folders of the outputs of finished steps, as in the metadata store.

    Returns:
      For each folder that could not be removed, why.
    """
    # By step, output and number, since the folder may have another path than when they were made.
    kept = {Path(folder).parts[-3:] for folder in finished}
    steps = output / "tfx" / "artifacts"
    found = [path for path in steps.glob("[!.]*/[!.]*/*") if path.parts[-3:] not in kept]
    problems = []
    for path in (*found, *steps.glob("[!.]*/.system/*/*")):
        try:
            remove(path)
        except OSError as error:  # such as another user's; the run does not depend on it
            problems.append(f"{path} of an interrupted run can't be removed: {error}")
    return problems


@contextlib.contextmanager
def temporary_folder(output: Path) -> Iterator[Path]:
    """Makes a folder for the temporary files of this process, and removes it at the end.

    TensorFlow and Beam remove theirs at the end of the process, which a kill prevents. So the
    folder's path is recorded, and the next run in the output folder removes it.

    Args:
      output: the output folder.

    Yields:
      A folder in TMPDIR, which is TMPDIR inside the block.

    Raises:
      TemporaryFolderError: no folder for temporary files can be written to.
    """
    record = output / "tfx" / _RECORD
    _remove_recorded(record, output)
    before, default = os.environ.get("TMPDIR"), tempfile.tempdir
    folder = _new_folder(output)
    try:
        record.symlink_to(folder)
        os.environ["TMPDIR"], tempfile.tempdir = str(folder), None
        yield folder
    finally:
        tempfile.tempdir = default
        if before is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = before
        shutil.rmtree(folder, ignore_errors=True)
        record.unlink(missing_ok=True)


def _new_folder(output: Path) -> Path:
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        (folder / _MARK).write_bytes(os.fsencode(output))
    except OSError as error:
        if folder is not None:
            remove(folder)
        raise TemporaryFolderError(
            f"no folder for temporary files can be written to ({error}); free some space, or set "
            "TMPDIR to a writable folder"
        ) from error
    return folder


def _remove_recorded(record: Path, output: Path) -> None:
    if not record.is_symlink():
        return
    folder = record.readlink()
    with contextlib.suppress(OSError):  # after a restart it does not exist
        # An output folder may come from elsewhere, and its record may lead anywhere.
        if (folder / _MARK).read_bytes() == os.fsencode(output):
            remove(folder)
    record.unlink()
