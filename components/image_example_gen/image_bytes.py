"""Reads the bytes of an image, and tells a bad file from a store that can't be reached."""

import errno

from components.image_example_gen import files
from components.images import reader
from components.stores import StoreError

# Reasons for a refusal that concern the file, not the image in it.
MISSING = "missing"
UNREADABLE = "unreadable"

# Errors of the file itself; any other, such as a broken disk or network, may hit all files.
_OF_THE_FILE = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR),
        *(errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.ENXIO, errno.ENODEV),
    }
)


def read_file(path: str, size: int, max_pixels: int) -> bytes:
    """Returns the content of an image's file.

    Args:
      path: on this machine or in a bucket.
      size: of the file in bytes, as listed; -1 if it can't be accessed.
      max_pixels: pixels above which an image is refused.

    Raises:
      RefusedImageError: the file is missing, unreadable or too large.
      StoreError: it could not be read, for a reason that does not lie in the file.
    """
    reader.check_bytes(size, max_pixels)
    try:
        return files.read_bytes(path)
    except FileNotFoundError as error:
        raise reader.RefusedImageError(MISSING, str(error)) from error
    except StoreError:
        raise
    except OSError as error:
        if error.errno not in _OF_THE_FILE:
            raise StoreError(
                f"{path} can't be read ({error}); check the disk or the server that it is "
                "on, then run again"
            ) from None
        raise reader.RefusedImageError(UNREADABLE, str(error)) from error
