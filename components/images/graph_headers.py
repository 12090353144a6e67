"""Reads the headers of images by TensorFlow operations.

The function of each format takes the bytes, string (), and returns a `Header` without decoding
pixels. All functions work eagerly, in a tf.function and in a SavedModel.
"""

from typing import NamedTuple

import tensorflow as tf

# Matches XMP that rotates the image; only the orientation of EXIF is supported here.
_XMP_ORIENTATION = r'\C*tiff:Orientation(="|>)[2-8]\C*'
_ORIENTATION_TAG = 0x0112
_SHORT, _LONG = 3, 4
# Octets per value of each of EXIF's types, which are numbered from 1.
_VALUE_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4)
_UPRIGHT = 1


class Header(NamedTuple):
    """The properties of an image that are known before it is decoded.

    Attributes:
      width: pixels, int64 ().
      height: pixels, int64 ().
      orientation: EXIF orientation, 1 to 8, int32 (); 1 is upright.
      is_rgb: whether it is stored as opaque RGB, bool ().
      has_alpha: whether parts of it may be transparent, bool ().
      refusal: why it can't be read here, string (); empty if it can.
    """

    width: tf.Tensor
    height: tf.Tensor
    orientation: tf.Tensor
    is_rgb: tf.Tensor
    has_alpha: tf.Tensor
    refusal: tf.Tensor


def refused(reason: str | tf.Tensor) -> Header:
    """Returns the header of an image that is refused."""
    zero, no = tf.constant(0, tf.int64), tf.constant(False)
    return Header(zero, zero, tf.constant(_UPRIGHT), no, no, tf.convert_to_tensor(reason))


def _first(*refusals: tuple[tf.Tensor, str]) -> tf.Tensor:
    """Returns the text of the first condition that is true, or an empty text."""
    reason = tf.constant("")
    for condition, text in reversed(refusals):
        reason = tf.where(condition, text, reason)
    return reason


class Octets(NamedTuple):
    """The bytes of a file, or of a part of one.

    Attributes:
      values: uint8 (size + margin,); the margin allows reads beyond the end.
      size: number of octets without the margin, int32 ().
    """

    values: tf.Tensor
    size: tf.Tensor


_MARGIN = 32


def octets_of(data: tf.Tensor) -> Octets:
    """Converts bytes, string (), to octets."""
    values = tf.io.decode_raw(tf.strings.join([data, bytes(_MARGIN)]), tf.uint8)
    return Octets(values, tf.size(values) - _MARGIN)


def _part(octets: Octets, start: tf.Tensor, end: tf.Tensor) -> Octets:
    return Octets(octets.values[start : end + _MARGIN], end - start)


def _window(octets: Octets, position: tf.Tensor, size: int) -> tf.Tensor:
    """Returns the octets at a position, int64 (size,); `size` is at most `_MARGIN`."""
    start = tf.clip_by_value(position, 0, octets.size)
    return tf.ensure_shape(tf.cast(octets.values[start : start + size], tf.int64), (size,))


def _value(window: tf.Tensor, *, big: bool = True) -> tf.Tensor:
    """Returns the unsigned number of the octets in the last axis, int64."""
    powers = [256**power for power in range(window.shape[-1])]
    return tf.reduce_sum(window * (powers[::-1] if big else powers), axis=-1)


def _number(octets: Octets, position: tf.Tensor | int, size: int, *, big: bool = True) -> tf.Tensor:
    """Returns an unsigned number of `size` octets, int64 (); -1 if it exceeds the end."""
    fits = (position >= 0) & (position + size <= octets.size)
    value = _value(_window(octets, position, size), big=big)
    return tf.where(fits, value, tf.constant(-1, tf.int64))


def _position(number: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """Converts an int64 to an int32 position, at most `limit`."""
    return tf.cast(tf.minimum(number, tf.cast(limit, tf.int64)), tf.int32)


def exif_orientation(exif: Octets) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the orientation in an EXIF block.

    Args:
      exif: the block, starting with its byte order mark.

    Returns:
      int32 (), 0 if it has none, and a refusal, string ().
    """
    start = _number(exif, 0, 4)
    little, big = start == 0x49492A00, start == 0x4D4D002A
    unusual = tf.equal(start // 2**16, 0x4949) | tf.equal(start // 2**16, 0x4D4D)

    unknown = _first((unusual, "its EXIF block starts in an unusual way"))
    return tf.case(
        [
            (little, lambda: _orientation_entry(exif, big=False)),
            (big, lambda: _orientation_entry(exif, big=True)),
        ],
        default=lambda: (tf.constant(0), unknown),
    )


def _orientation_entry(exif: Octets, *, big: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """Looks up the orientation in the first directory; of several entries the last is used.

    A directory with values outside of the block is refused, since Pillow's result depends on
    which values they are.
    """
    size = exif.size
    directory = _position(_number(exif, 4, 4, big=big), size)
    declared = tf.cast(_number(exif, directory, 2, big=big), tf.int32)
    count = tf.maximum(0, tf.minimum(declared, (size - directory - 2) // 12))
    start = tf.minimum(directory + 2, size)
    octets = tf.cast(exif.values[start : start + 12 * count], tf.int64)
    entries = tf.reshape(octets, (-1, 12))

    def field(first: int, length: int) -> tf.Tensor:
        return _value(entries[:, first : first + length], big=big)

    kind, values, place = field(2, 2), field(4, 4), field(8, 4)
    sizes = tf.gather(_VALUE_SIZES, tf.where(kind < len(_VALUE_SIZES), kind, 0))
    lengths = values * tf.cast(sizes, tf.int64)
    outside = tf.reduce_any((lengths > 4) & (place + lengths > tf.cast(size, tf.int64)))
    damage = _first((outside, "its EXIF block is damaged"))
    value = tf.where(kind == _LONG, place, field(8, 2))
    usual = (values == 1) & ((kind == _SHORT) | (kind == _LONG))
    found = tf.where(field(0, 2) == _ORIENTATION_TAG)[:, 0]

    def last() -> tuple[tf.Tensor, tf.Tensor]:
        index = found[-1]
        refusal = _first((~usual[index], "its EXIF orientation is not a single number"))
        inside = (value[index] >= 1) & (value[index] <= 8)
        orientation = tf.where(inside, tf.cast(value[index], tf.int32), _UPRIGHT)
        return orientation, tf.where(damage == "", refusal, damage)

    return tf.cond(tf.size(found) > 0, last, lambda: (tf.constant(0), damage))


def _orientation(exif: Octets, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the orientation of EXIF, or a refusal; without one, XMP must not have one either.

    Args:
      exif: the block, starting with its byte order mark; empty if there is none.
      text: the bytes that may contain an XMP packet, string ().
    """
    found, refusal = exif_orientation(exif)

    def by_xmp() -> tuple[tf.Tensor, tf.Tensor]:
        has_orientation = tf.strings.regex_full_match(text, _XMP_ORIENTATION)
        return tf.constant(_UPRIGHT), _first(
            (has_orientation, "its orientation is in XMP and not in EXIF")
        )

    return tf.cond((found == 0) & (refusal == ""), by_xmp, lambda: (found, refusal))


class _JpegSegments(NamedTuple):
    """The positions and numbers of segments in a JPEG's header, int32 ().

    Attributes:
      position: position of the marker of the first scan, or of an octet that is not a marker.
      exif: position of the EXIF block, after its signature of six octets.
      exif_end: end of the EXIF block.
      exifs: number of EXIF blocks.
      frame: position of the frame header's marker.
      frames: number of frame headers.
      is_open: whether more segments follow, bool ().
    """

    position: tf.Tensor
    exif: tf.Tensor
    exif_end: tf.Tensor
    exifs: tf.Tensor
    frame: tf.Tensor
    frames: tf.Tensor
    is_open: tf.Tensor


_EXIF = list(b"Exif\0\0")
_START_OF_SCAN, _APP1 = 0xFFDA, 0xFFE1
_START_OF_FRAME = (0xFFC0, 0xFFC1, 0xFFC2)
_OTHER_FRAMES = (0xFFC3, *range(0xFFC5, 0xFFC8), *range(0xFFC9, 0xFFCC), *range(0xFFCD, 0xFFD0))
_NO_SEGMENT = (0xFF00, 0xFF01, *range(0xFFD0, 0xFFDA))


def _is_one_of(value: tf.Tensor, values: tuple[int, ...]) -> tf.Tensor:
    return tf.reduce_any(value == tf.constant(values, tf.int64))


def _jpeg_segments(octets: Octets) -> _JpegSegments:
    def step(*state: tf.Tensor) -> _JpegSegments:
        found = _JpegSegments(*state)
        start = found.position
        window = _window(octets, start, 10)
        marker, length = _value(window[:2]), _value(window[2:4])
        is_fill = marker == 0xFFFF
        is_segment = (marker >= 0xFF02) & ~is_fill & ~_is_one_of(marker, _NO_SEGMENT)
        end = start + 2 + tf.cast(length, tf.int32)
        is_open = is_fill | (
            is_segment & (marker != _START_OF_SCAN) & (length >= 2) & (end <= octets.size)
        )
        is_exif = is_open & (marker == _APP1) & tf.reduce_all(window[4:] == _EXIF)
        is_frame = is_open & _is_one_of(marker, _START_OF_FRAME + _OTHER_FRAMES)
        return _JpegSegments(
            position=tf.where(is_open, tf.where(is_fill, start + 1, end), start),
            exif=tf.where(is_exif, start + 10, found.exif),
            exif_end=tf.where(is_exif, end, found.exif_end),
            exifs=found.exifs + tf.cast(is_exif, tf.int32),
            frame=tf.where(is_frame, start, found.frame),
            frames=found.frames + tf.cast(is_frame, tf.int32),
            is_open=is_open,
        )

    zero = tf.constant(0)
    start = _JpegSegments(tf.constant(2), zero, zero, zero, zero, zero, tf.constant(True))
    return _JpegSegments(*tf.while_loop(lambda *state: state[-1], step, start))


def jpeg(data: tf.Tensor) -> Header:
    """Returns the header of a JPEG."""
    octets = octets_of(data)
    found = _jpeg_segments(octets)
    marker, precision = (_number(octets, found.frame + at, size) for at, size in ((0, 2), (4, 1)))
    height, width = (_number(octets, found.frame + at, 2) for at in (5, 7))
    channels = _number(octets, found.frame + 9, 1)
    text = tf.strings.substr(data, 0, found.position)
    orientation, orientation_refusal = _orientation(_part(octets, found.exif, found.exif_end), text)
    is_whole = (_number(octets, found.position, 2) == _START_OF_SCAN) & (found.frames == 1)
    refusal = _first(
        (~is_whole, "its JPEG header is not well-formed"),
        (~_is_one_of(marker, _START_OF_FRAME), "it is a lossless or arithmetic-coded JPEG"),
        (precision != 8, "it is a JPEG of more than 8 bits"),
        (channels == 4, "it is a CMYK JPEG"),
        ((channels != 1) & (channels != 3), "it is a JPEG with neither one nor three channels"),
        ((height < 1) | (width < 1), "its JPEG header has no size"),
        (found.exifs > 1, "it has more than one EXIF block"),
    )
    refusal = tf.where(refusal == "", orientation_refusal, refusal)
    return Header(width, height, orientation, channels == 3, tf.constant(False), refusal)


class _PngChunks(NamedTuple):
    """The positions, int32 (), and properties of a PNG's chunks.

    Attributes:
      position: position of the current chunk.
      exif: position of the EXIF block.
      exif_end: end of the EXIF block.
      palette: octets of the palette, int32 ().
      has_pixels: whether pixels were found, bool ().
      has_transparency: whether a palette entry or a colour is transparent, bool ().
      is_odd: whether the transparency chunk is misplaced or out of range, bool ().
      has_text: whether there is international text, such as XMP, bool ().
      hides_orientation: whether compressed text may have an orientation, bool ().
      is_open: whether more chunks follow, bool ().
    """

    position: tf.Tensor
    exif: tf.Tensor
    exif_end: tf.Tensor
    palette: tf.Tensor
    has_pixels: tf.Tensor
    has_transparency: tf.Tensor
    is_odd: tf.Tensor
    has_text: tf.Tensor
    hides_orientation: tf.Tensor
    is_open: tf.Tensor


def _code(kind: bytes) -> int:
    return int.from_bytes(kind)


_RAW_EXIF = b"Raw profile type exif"
_HIDING_TEXTS = (_RAW_EXIF, b"XML:com.adobe.xmp\0\1")
_GREY, _RGB, _PALETTE = 0, 2, 3
_PNG_ALPHA, _PNG_DEPTHS = (4, 6), (1, 2, 4, 8)


def _png_chunks(octets: Octets, depth: tf.Tensor, colour: tf.Tensor) -> _PngChunks:
    def step(*state: tf.Tensor) -> _PngChunks:
        found = _PngChunks(*state)
        start = found.position
        window = _window(octets, start, 8 + len(_RAW_EXIF))
        length, kind = _value(window[:4]), _value(window[4:8])
        content = start + 8
        end = _position(tf.cast(content, tf.int64) + length, octets.size)
        is_exif = kind == _code(b"eXIf")
        hides = tf.reduce_any(
            [tf.reduce_all(window[8 : 8 + len(text)] == list(text)) for text in _HIDING_TEXTS]
        )
        is_palette, is_transparency = kind == _code(b"PLTE"), kind == _code(b"tRNS")
        is_late = found.has_pixels | found.has_transparency
        is_odd = is_late | _is_odd_transparency(window, found.palette, depth, colour)
        is_text = _is_one_of(kind, (_code(b"tEXt"), _code(b"zTXt"), _code(b"iTXt")))
        return _PngChunks(
            position=end + 4,
            exif=tf.where(is_exif, content, found.exif),
            exif_end=tf.where(is_exif, end, found.exif_end),
            palette=tf.where(is_palette, end - content, found.palette),
            has_pixels=found.has_pixels | (kind == _code(b"IDAT")),
            has_transparency=found.has_transparency | is_transparency,
            is_odd=found.is_odd | (is_transparency & is_odd),
            has_text=found.has_text | (kind == _code(b"iTXt")),
            hides_orientation=found.hides_orientation | (is_text & hides),
            is_open=(kind != _code(b"IEND")) & (end + 12 <= octets.size),
        )

    zero, no = tf.constant(0), tf.constant(False)
    start = _PngChunks(
        tf.constant(8), zero, zero, zero, no, no, no, no, no, is_open=tf.constant(True)
    )
    return _PngChunks(*tf.while_loop(lambda *state: state[-1], step, start))


def _is_odd_transparency(
    window: tf.Tensor, palette: tf.Tensor, depth: tf.Tensor, colour: tf.Tensor
) -> tf.Tensor:
    """Returns whether a transparency chunk exceeds the palette or the samples' range."""
    length, samples = _value(window[:4]), _value(tf.reshape(window[8:14], (3, 2)))
    is_large = samples >= tf.bitwise.left_shift(
        tf.constant(1, tf.int64), tf.clip_by_value(depth, 0, 16)
    )
    exceeds = 3 * length > tf.cast(palette, tf.int64)
    is_grey = (length != 2) | is_large[0]
    is_rgb = (length != 6) | tf.reduce_any(is_large)
    return tf.where(colour == _PALETTE, exceeds, tf.where(colour == _GREY, is_grey, is_rgb))


def png(data: tf.Tensor) -> Header:
    """Returns the header of a PNG."""
    octets = octets_of(data)
    depth, colour = (_number(octets, at, 1) for at in (24, 25))
    found = _png_chunks(octets, depth, colour)
    is_header = _number(octets, 12, 4) == _code(b"IHDR")
    width, height = (_number(octets, at, 4) for at in (16, 20))
    text = tf.where(found.has_text, data, "")
    orientation, orientation_refusal = _orientation(_part(octets, found.exif, found.exif_end), text)
    refusal = _first(
        (~is_header, "its PNG header is not well-formed"),
        (depth == 16, "it is a PNG of 16 bits"),
        (~_is_one_of(depth, _PNG_DEPTHS), "its PNG header is not well-formed"),
        (found.is_odd, "its PNG defines transparency in an unusual way"),
        (found.hides_orientation, "its orientation may be in compressed text"),
    )
    refusal = tf.where(refusal == "", orientation_refusal, refusal)
    has_alpha = found.has_transparency | _is_one_of(colour, _PNG_ALPHA)
    return Header(width, height, orientation, (colour == _RGB) & ~has_alpha, has_alpha, refusal)


_EXTENSION, _IMAGE, _GRAPHIC_CONTROL, _TRAILER = 0x21, 0x2C, 0xF9, 0x3B


class _GifBlocks(NamedTuple):
    """The state of reading a GIF's blocks.

    Attributes:
      position: position of the current block, int32 ().
      in_extension: whether it is part of an extension, bool ().
      has_transparency: whether an index is transparent, bool ().
      is_open: whether the first image is not reached yet, bool ().
    """

    position: tf.Tensor
    in_extension: tf.Tensor
    has_transparency: tf.Tensor
    is_open: tf.Tensor


def _gif_blocks(octets: Octets, start: tf.Tensor) -> _GifBlocks:
    def step(*state: tf.Tensor) -> _GifBlocks:
        found = _GifBlocks(*state)
        position = found.position
        first, second, _, flags = tf.unstack(_window(octets, position, 4))
        is_control = ~found.in_extension & (second == _GRAPHIC_CONTROL)
        begins = ~found.in_extension & (first == _EXTENSION)
        part = position + 1 + tf.cast(first, tf.int32)
        return _GifBlocks(
            position=tf.where(found.in_extension, part, tf.where(begins, position + 2, position)),
            in_extension=tf.where(found.in_extension, first > 0, begins),
            has_transparency=found.has_transparency | (begins & is_control & (flags % 2 == 1)),
            is_open=(position < octets.size) & (found.in_extension | begins),
        )

    no = tf.constant(False)
    state = _GifBlocks(start, no, no, tf.constant(True))
    return _GifBlocks(*tf.while_loop(lambda *state: state[-1], step, state))


def _palette_size(flags: tf.Tensor) -> tf.Tensor:
    """Returns the octets of the palette by the flags of a GIF's screen or image."""
    size = 3 * tf.bitwise.left_shift(tf.constant(2, tf.int64), tf.maximum(flags, 0) % 8)
    return tf.cast(tf.where(flags >= 128, size, 0), tf.int32)


def gif(data: tf.Tensor) -> Header:
    """Returns the header of a GIF."""
    octets = octets_of(data)
    width, height = (_number(octets, at, 2, big=False) for at in (6, 8))
    palette = _palette_size(_number(octets, 10, 1))
    found = _gif_blocks(octets, 13 + palette)
    image = found.position
    is_image = _number(octets, image, 1) == _IMAGE
    left, top, wide, high = (_number(octets, image + at, 2, big=False) for at in (1, 3, 5, 7))
    fills = (left == 0) & (top == 0) & (wide == width) & (high == height)
    own_palette = _palette_size(_number(octets, image + 9, 1))
    refusal = _first(
        (~is_image, "its GIF header is not well-formed"),
        (_number(octets, octets.size - 1, 1) != _TRAILER, "the GIF is truncated"),
        (found.has_transparency, "it is a GIF with transparent parts"),
        (~fills, "the first frame of the GIF does not fill it"),
        (palette + own_palette == 0, "it is a GIF without a palette"),
    )
    no = tf.constant(False)
    return Header(width, height, tf.constant(_UPRIGHT), no, no, refusal)


_BMP_HEADER_SIZES = (40, 52, 56, 108, 124)


def bmp(data: tf.Tensor) -> Header:
    """Returns the header of a BMP."""
    octets = octets_of(data)
    size, width, height, packing = (_number(octets, at, 4, big=False) for at in (14, 18, 22, 30))
    depth = _number(octets, 28, 2, big=False)
    # A negative height means that the rows are stored from top to bottom.
    rows = tf.where(height >= 2**31, 2**32 - height, height)
    is_usual = _is_one_of(size, _BMP_HEADER_SIZES) & (depth == 24) & (packing == 0)
    refusal = _first((~is_usual, "it is a BMP of other than 24 bits, or compressed"))
    no = tf.constant(False)
    return Header(width, rows, tf.constant(_UPRIGHT), no, no, refusal)


_OTHER_KINDS = (
    ("it is a WebP", r"RIFF\C{4}WEBP\C*"),
    ("it is a TIFF", r"(II\*\x00|MM\x00\*|II\+\x00|MM\x00\+)\C*"),
    ("it is an AVIF or HEIF", r"\C{4}ftyp\C*"),
    ("it is a JPEG 2000", r"(\x00\x00\x00\x0cjP  |\CO\CQ)\C*"),
    ("it is a PPM", r"P[1-7][ \t\r\n]\C*"),
)


def other(data: tf.Tensor) -> Header:
    """Returns the header of a file that TensorFlow does not decode: a refusal with its format."""
    start = tf.strings.substr(data, 0, tf.minimum(tf.strings.length(data), 16))
    kinds = [(tf.strings.regex_full_match(start, match), name) for name, match in _OTHER_KINDS]
    empty = (tf.strings.length(data) == 0, "it has 0 bytes")
    reason = _first(empty, *kinds, (tf.constant(True), "it is not an image"))
    return refused(reason)


_KINDS = (
    (b"\xff\xd8\xff", jpeg),
    (b"\x89PNG\r\n\x1a\n", png),
    (b"GIF8", gif),
    (b"BM", bmp),
)
JPEG, PNG = 0, 1


def kind(data: tf.Tensor) -> tf.Tensor:
    """Returns the format by the first bytes, int32 (): `JPEG`, `PNG` or another number."""
    found = tf.constant(len(_KINDS))
    for index, (signature, _) in reversed(list(enumerate(_KINDS))):
        start = tf.strings.substr(data, 0, tf.minimum(tf.strings.length(data), len(signature)))
        found = tf.where(start == signature, index, found)
    return found


def header(data: tf.Tensor) -> Header:
    """Returns the header of an image of any format."""
    branches = [lambda read=read: read(data) for _, read in _KINDS]
    return tf.switch_case(kind(data), [*branches, lambda: other(data)])
