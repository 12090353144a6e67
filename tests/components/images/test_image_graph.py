"""The served model reads images to exactly the reader's pixels, or refuses them."""

import struct

import numpy as np
import pytest
import tensorflow as tf
from pictures_on_disk import PHOTOGRAPHS, encoded, picture, png
from PIL import ExifTags, Image

from components.images import graph
from components.images.reader import RefusedImageError, read_image
from components.images.rules import ReadingRules

PICTURE = picture(1, size=(150, 100))
ALPHA = Image.merge("RGBA", (*PICTURE.split(), Image.linear_gradient("L").resize((150, 100))))
PALETTE = PICTURE.quantize(64)
MAX_PIXELS = 1_000_000


class Reading(tf.Module):
    """Reads an image by rules."""

    def __init__(self, max_side: int):
        super().__init__()
        self._rules = ReadingRules(
            image_size=8, pixel_range=(0.0, 1.0), max_side=max_side, max_pixels=MAX_PIXELS
        )

    def eagerly(self, data):
        return graph.read(data, self._rules, tf.constant("image 7"))

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def __call__(self, data):
        return self.eagerly(data)


READERS = {max_side: Reading(max_side) for max_side in (0, 40)}


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("reading"))
    tf.saved_model.save(READERS[40], folder)
    return tf.saved_model.load(folder)


def stored(data: bytes, max_side: int) -> np.ndarray:
    """The pixels of an image in training."""
    return graph.decode(read_image(data, max_side=max_side).data).numpy()


def exif(orientation: int, **more: str) -> Image.Exif:
    block = Image.Exif()
    block[ExifTags.Base.Make] = more.get("make", "a camera")
    block[ExifTags.Base.Orientation] = orientation
    return block


def big_endian(orientation: int) -> bytes:
    entry = struct.pack(">HHIHH", ExifTags.Base.Orientation, 3, 1, orientation, 0)
    return b"Exif\0\0MM" + struct.pack(">HIH", 42, 8, 1) + entry + bytes(4)


def little_endian(orientation: int, *, kind: int = 3) -> bytes:
    value = struct.pack("<HH" if kind == 3 else "<I", *([orientation, 0][: 5 - kind]))
    entries = struct.pack("<HHI4s", 0x100, 3, 1, b"") + struct.pack(
        "<HHI4s", ExifTags.Base.Orientation, kind, 1, value
    )
    return b"Exif\0\0II" + struct.pack("<HIH", 42, 8, 2) + entries + bytes(4)


TURNED = {
    f"{kind}, orientation {orientation}": data
    for orientation in range(1, 9)
    for kind, data in {
        "JPEG": encoded(PICTURE, quality=90, exif=exif(orientation)),
        "JPEG, big endian": encoded(PICTURE, quality=90, exif=big_endian(orientation)),
        "JPEG, little endian": encoded(PICTURE, quality=90, exif=little_endian(orientation)),
        "PNG": encoded(PICTURE, "PNG", exif=exif(orientation)),
    }.items()
}

READ = {
    **TURNED,
    "JPEG": encoded(PICTURE, quality=90),
    "JPEG of orientation 9": encoded(PICTURE, exif=big_endian(9)),
    "JPEG with a long orientation": encoded(PICTURE, exif=little_endian(6, kind=4)),
    "JPEG with a broken EXIF block": encoded(PICTURE, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"),
    "JPEG with no EXIF in its block": encoded(PICTURE, exif=b"Exif\0\0nothing here"),
    "JPEG with a profile and a comment": encoded(
        PICTURE, icc_profile=bytes(70_000), comment=b"Exif", exif=exif(8)
    ),
    "progressive JPEG": encoded(PICTURE, progressive=True, exif=exif(6)),
    "JPEG without subsampling": encoded(PICTURE, subsampling=0, exif=exif(5)),
    "grey JPEG": encoded(PICTURE.convert("L"), quality=90),
    "grey JPEG, turned": encoded(PICTURE.convert("L"), quality=90, exif=exif(6)),
    "JPEG with fill bytes": encoded(PICTURE).replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1),
    "JPEG with trailing bytes": encoded(PICTURE) + bytes(100),
    "large JPEG": encoded(picture(2, size=(430, 200)), exif=exif(3)),
    "PNG": encoded(PICTURE, "PNG"),
    "PNG of RGBA": encoded(ALPHA, "PNG"),
    "PNG of grey and alpha": encoded(ALPHA.convert("LA"), "PNG"),
    "PNG of RGBA, turned": encoded(ALPHA, "PNG", exif=exif(7)),
    "grey PNG": encoded(PICTURE.convert("L"), "PNG"),
    "1-bit PNG": encoded(PICTURE.convert("1"), "PNG"),
    "2-bit palette PNG": encoded(PICTURE.quantize(4), "PNG"),
    "2-bit PNG with a transparent grey": png(2, 0, [b"\x1b"], 4, tRNS=b"\0\1"),
    "palette PNG": encoded(PALETTE, "PNG"),
    "palette PNG with a transparent entry": encoded(PALETTE, "PNG", transparency=3),
    "palette PNG with half transparent entries": encoded(
        PALETTE, "PNG", transparency=bytes(range(0, 256, 4))
    ),
    "RGB PNG with a transparent colour": encoded(
        Image.new("RGB", (9, 9), "red"), "PNG", transparency=(255, 0, 0)
    ),
    "animated PNG": encoded(
        PICTURE, "PNG", save_all=True, append_images=[Image.new("RGB", PICTURE.size)]
    ),
    "GIF": encoded(PALETTE, "GIF"),
    "interlaced GIF": encoded(PALETTE, "GIF", interlace=1),
    "grey GIF": encoded(PICTURE.convert("L"), "GIF"),
    "animated GIF": encoded(
        PALETTE,
        "GIF",
        save_all=True,
        comment=b"a comment " * 60,
        append_images=[Image.new("P", PALETTE.size)],
    ),
    "BMP": encoded(PICTURE, "BMP"),
    "BMP of an odd width": encoded(PICTURE.crop((0, 0, 61, 33)), "BMP"),
}


@pytest.mark.parametrize("max_side", READERS)
@pytest.mark.parametrize("kind", READ)
def test_a_raw_image_has_the_pixels_that_the_reader_stores(kind, max_side):
    np.testing.assert_array_equal(
        READERS[max_side](tf.constant(READ[kind])), stored(READ[kind], max_side)
    )


SOME = ["JPEG, orientation 6", "PNG of RGBA", "animated GIF", "BMP"]


@pytest.mark.parametrize("kind", SOME)
def test_reading_is_the_same_eagerly_and_in_a_saved_model(kind, reloaded):
    expected = stored(READ[kind], 40)
    np.testing.assert_array_equal(READERS[40].eagerly(tf.constant(READ[kind])), expected)
    np.testing.assert_array_equal(reloaded(tf.constant(READ[kind])), expected)


@pytest.mark.parametrize("kind", READ)
def test_an_image_that_the_reader_stored_is_only_decoded(kind):
    data = read_image(READ[kind], max_side=40).data
    np.testing.assert_array_equal(READERS[40](tf.constant(data)), graph.decode(data))


def bmp(depth: int, **changes: int) -> bytes:
    """A BMP with an unusual header, and zeros as pixels."""
    size = changes.get("size", 40)
    header = struct.pack("<IiiHHIIiiII", size, 8, 8, 1, depth, changes.get("packing", 0), *[0] * 5)
    return b"BM" + struct.pack("<III", 2000, 0, 54 + 1024) + header + bytes(2000)


def xmp(orientation: int) -> bytes:
    return f'<rdf:Description tiff:Orientation="{orientation}"/>'.encode()


def with_segment(data: bytes, content: bytes) -> bytes:
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[2:]


def with_text_chunk(kind: str, keyword: bytes, text: bytes) -> bytes:
    return png(8, 2, [bytes(24)] * 8, 8, **{kind: keyword + b"\0" + text})


FRAME = Image.new("P", (20, 20))
REFUSED = {
    "CMYK JPEG": (encoded(PICTURE.convert("CMYK")), "CMYK JPEG"),
    "arithmetic-coded JPEG": (encoded(PICTURE).replace(b"\xff\xc0", b"\xff\xc9", 1), "arithmetic"),
    "12-bit JPEG": (
        encoded(PICTURE).replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        "8 bits",
    ),
    "JPEG with two EXIF blocks": (
        with_segment(encoded(PICTURE, exif=exif(6)), big_endian(3)),
        "more than one EXIF",
    ),
    "JPEG whose orientation is text": (
        encoded(PICTURE, exif=big_endian(6).replace(b"\x01\x12\0\x03", b"\x01\x12\0\x02")),
        "not a single number",
    ),
    "JPEG with a damaged EXIF block": (
        encoded(PICTURE, exif=exif(6).tobytes().replace(b"\0\0\0\x09", b"\0\x09\0\0", 1)),
        "EXIF block is damaged",
    ),
    "JPEG turned by XMP": (encoded(PICTURE, xmp=xmp(6)), "XMP"),
    "start of a JPEG": (b"\xff\xd8\xff", "not well-formed"),
    "16-bit PNG": (
        encoded(Image.fromarray(np.full((9, 9), 40_000, np.uint16)), "PNG"),
        "PNG of 16 bits",
    ),
    "PNG turned by XMP": (
        with_text_chunk("iTXt", b"XML:com.adobe.xmp", bytes(4) + xmp(6)),
        "XMP",
    ),
    "PNG with EXIF in text": (
        with_text_chunk("zTXt", b"Raw profile type exif", b"\0x"),
        "compressed text",
    ),
    "PNG with more transparent entries than colours": (
        png(8, 3, [b"\0"], 1, PLTE=b"\xff\0\0", tRNS=b"\x80\x80"),
        "defines transparency",
    ),
    "PNG with a transparent grey beyond its depth": (
        png(2, 0, [b"\x1b"], 4, tRNS=b"\0\x05"),
        "defines transparency",
    ),
    "GIF with transparency": (encoded(PALETTE, "GIF", transparency=3), "transparent"),
    "truncated GIF": (encoded(PALETTE, "GIF")[:-900], "truncated"),
    "WebP": (encoded(PICTURE, "WEBP"), "WebP"),
    "TIFF": (encoded(PICTURE, "TIFF"), "TIFF"),
    "big endian TIFF": (b"MM\0*" + bytes(100), "TIFF"),
    "AVIF": (encoded(PICTURE, "AVIF"), "AVIF"),
    "JPEG 2000": (encoded(PICTURE, "JPEG2000"), "JPEG 2000"),
    "PPM": (encoded(PICTURE, "PPM"), "PPM"),
    "palette BMP": (encoded(PALETTE, "BMP"), "BMP of other than 24 bits"),
    "grey BMP": (encoded(PICTURE.convert("L"), "BMP"), "BMP of other than 24 bits"),
    "32-bit BMP": (encoded(ALPHA, "BMP"), "BMP of other than 24 bits"),
    "OS/2 BMP": (bmp(24, size=12), "BMP of other than 24 bits"),
    "compressed BMP": (bmp(24, packing=1), "BMP of other than 24 bits"),
    "text": (b"this is no image", "not an image"),
    "nothing": (b"", "0 bytes"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_image_that_is_not_read_as_by_the_reader_is_refused_with_the_reason(kind):
    data, reason = REFUSED[kind]
    message = f"image 7 is refused: .*{reason}.*; send it through the gateway"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        READERS[0](tf.constant(data))


def test_the_first_frame_of_a_gif_must_fill_it():
    data = bytearray(encoded(FRAME, "GIF"))
    start = data.index(b"\x2c\0\0\0\0", 13)
    data[start + 1] = 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="does not fill it"):
        READERS[0](tf.constant(bytes(data)))


def test_an_image_of_too_many_pixels_is_refused_by_its_header():
    data = encoded(Image.new("RGB", (1000, 1001)), "PNG")
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="1000 x 1001 pixels; at most 1,000,000"
    ):
        READERS[0](tf.constant(data))


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """The file with some of its first octets changed, which contain the headers."""
    copy = bytearray(data)
    for place in rng.integers(2, min(len(copy), 700), rng.integers(1, 5)):
        copy[place] = rng.integers(256)
    return bytes(copy)


@pytest.mark.parametrize("kind", ["JPEG, big endian, orientation 6", "GIF", "BMP"])
def test_a_damaged_header_is_never_misread(kind):
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(150):
        data = damaged(READ[kind], rng)
        try:
            found, expected = READERS[40](tf.constant(data)).numpy(), stored(data, 40)
        except (tf.errors.InvalidArgumentError, RefusedImageError):
            continue
        compared += 1
        np.testing.assert_array_equal(found, expected)
    assert compared


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason=f"no photographs in {PHOTOGRAPHS}")
@pytest.mark.parametrize("max_side", READERS)
def test_photographs_have_the_readers_pixels_at_every_orientation(max_side):
    for index, path in enumerate(sorted(PHOTOGRAPHS.glob("*/*.jpg"))[::120]):
        photograph = Image.open(path)
        data = encoded(photograph, quality=92, exif=exif(index % 8 + 1))
        for raw in (path.read_bytes(), data):
            np.testing.assert_array_equal(
                READERS[max_side](tf.constant(raw)), stored(raw, max_side)
            )
