"""Files that Beam's workers write.

An engine repeats a bundle that failed, and may start a second try while the first goes on, on
another machine. So the name of a file must follow from what is in it, and it must appear whole.
"""

import contextlib
import os
import uuid
from collections.abc import Iterator

from components import file_io


@contextlib.contextmanager
def bundle_file(path: str, scratch: str = "") -> Iterator[str]:
    """Yields the path of a file to write, which is renamed when the block ends without an error.

    Args:
      path: local or remote; of several tries, the last one to end wins.
      scratch: folder in the same file system for the file until then; what a killed worker leaves
        there must be removed at the end. Default: that of `path`.

    Yields:
      A path that no other try uses.
    """
    folder, name = os.path.split(path)
    hidden = os.path.join(scratch or folder, f".{name}-{uuid.uuid4().hex}")
    try:
        yield hidden
    except BaseException:
        with contextlib.suppress(Exception):  # it may not exist, and the error is what matters
            file_io.remove(hidden)
        raise
    file_io.rename(hidden, path)
