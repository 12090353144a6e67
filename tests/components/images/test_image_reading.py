import io
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from pictures_on_disk import encoded, picture
from PIL import ExifTags, Image, ImageOps

from components.images import jpeg, png, reader
from components.images.reader import RefusedImageError, read_image, read_images

PICTURE = picture(1)
JPEG = encoded(PICTURE, quality=90)


def decoded(data: bytes) -> np.ndarray:
    """The picture's pixels in training, uint8 (height, width, 3)."""
    return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()


def difference(data: bytes, expected: Image.Image) -> float:
    """Mean absolute difference of two pictures, in levels of 0 to 255."""
    pixels = decoded(data)
    assert pixels.shape == (expected.height, expected.width, 3)
    return np.abs(pixels.astype(int) - np.asarray(expected).astype(int)).mean()


def refusal(data: bytes, **limits: int) -> RefusedImageError:
    with pytest.raises(RefusedImageError) as error:
        read_image(data, **limits)
    return error.value


PLAIN = {
    "baseline JPEG": JPEG,
    "progressive JPEG": encoded(PICTURE, progressive=True),
    "JPEG with trailing bytes": JPEG + bytes(100),
    "JPEG with restart markers": encoded(PICTURE, restart_marker_blocks=2),
    "PNG": encoded(PICTURE, "PNG"),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_a_plain_image_keeps_its_bytes(kind):
    image = read_image(PLAIN[kind])
    assert image.data == PLAIN[kind]
    assert (image.width, image.height) == PICTURE.size
    assert difference(image.data, PICTURE) < 8


PLAIN_JPEGS = {
    "baseline": JPEG,
    "progressive": PLAIN["progressive JPEG"],
    "with restart markers": PLAIN["JPEG with restart markers"],
    "with trailing bytes": PLAIN["JPEG with trailing bytes"],
    "with a colour profile": encoded(PICTURE, icc_profile=bytes(300)),
    "with a comment": encoded(PICTURE, comment=b"a comment"),
    "large": encoded(PICTURE.resize((1111, 777)), quality=95),
    "narrow": encoded(PICTURE.resize((1111, 7))),
    "small": encoded(PICTURE.resize((3, 5))),
    "Adobe's": JPEG[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0\x01" + JPEG[2:],
}


@pytest.mark.parametrize("kind", PLAIN_JPEGS)
def test_a_plain_jpeg_is_read_by_its_own_header_with_the_same_result(kind, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(reader.Image, "open", None)
        found = read_image(PLAIN_JPEGS[kind])
    monkeypatch.setattr(reader, "_plain_jpeg", lambda *_: None)
    assert found == read_image(PLAIN_JPEGS[kind])


def test_a_jpeg_with_metadata_that_may_turn_it_is_not_plain():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    multiple = encoded(PICTURE, "MPO", save_all=True, append_images=[PICTURE])
    others = [
        encoded(PICTURE, exif=exif),
        encoded(GREY),
        encoded(PICTURE.convert("CMYK")),
        multiple,
    ]
    short = JPEG[:2] + b"\xff\xe0\x00\x07JFIF\0" + JPEG[2:]  # Pillow fails on it
    for data in (*others, short, JPEG[:-2], PLAIN["PNG"], b""):
        assert jpeg.plain_size(data) is None
    assert jpeg.plain_size(JPEG) == PICTURE.size


def test_several_images_are_read_as_one_by_one():
    images = [*PLAIN.values(), JPEG[:-2], b"", encoded(PALETTE, "GIF"), b"no image", JPEG]
    found = read_images(images)
    for data, each in zip(images, found, strict=True):
        if isinstance(each, RefusedImageError):
            assert str(each) == str(refusal(data))
        else:
            assert each == read_image(data)
    assert [isinstance(each, RefusedImageError) for each in found].count(True) == 3
    assert read_images([]) == []


def noisy_alpha(image: Image.Image) -> Image.Image:
    alpha = Image.linear_gradient("L").resize(image.size)
    return Image.merge("RGBA", (*image.split(), alpha))


def over_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


GREY = PICTURE.convert("L")
ALPHA = noisy_alpha(PICTURE)
GREY_ALPHA = ALPHA.convert("LA")
PALETTE = PICTURE.quantize(64)
SIXTEEN_BITS = Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)

OTHERS = {
    "CMYK JPEG": (encoded(PICTURE.convert("CMYK"), quality=95), PICTURE),
    "grey JPEG": (encoded(GREY, quality=95), GREY.convert("RGB")),
    "RGBA PNG": (encoded(ALPHA, "PNG"), over_white(ALPHA)),
    "grey PNG with alpha": (encoded(GREY_ALPHA, "PNG"), over_white(GREY_ALPHA.convert("RGBA"))),
    "palette PNG": (encoded(PALETTE, "PNG"), PALETTE.convert("RGB")),
    "RGB PNG with a transparent colour": (
        encoded(Image.new("RGB", (9, 9), "red"), "PNG", transparency=(255, 0, 0)),
        Image.new("RGB", (9, 9), "white"),
    ),
    "16-bit PNG": (encoded(SIXTEEN_BITS, "PNG"), GREY.convert("RGB")),
    "16-bit TIFF": (encoded(SIXTEEN_BITS, "TIFF"), GREY.convert("RGB")),
    "1-bit PNG": (encoded(GREY.convert("1"), "PNG"), GREY.convert("1").convert("RGB")),
    "GIF": (encoded(PALETTE, "GIF"), PALETTE.convert("RGB")),
    "BMP": (encoded(PICTURE, "BMP"), PICTURE),
    "TIFF": (encoded(PICTURE, "TIFF", compression="tiff_lzw"), PICTURE),
    "CMYK TIFF": (encoded(PICTURE.convert("CMYK"), "TIFF"), PICTURE),
    "PPM": (encoded(PICTURE, "PPM"), PICTURE),
    "WebP": (encoded(PICTURE, "WEBP", quality=95), PICTURE),
    "WebP with alpha": (encoded(ALPHA, "WEBP", lossless=True, exact=True), over_white(ALPHA)),
    "AVIF": (encoded(PICTURE, "AVIF", quality=95), PICTURE),
    "JPEG 2000": (encoded(PICTURE, "JPEG2000"), PICTURE),
    "animated GIF": (
        encoded(PALETTE, "GIF", save_all=True, append_images=[Image.new("P", PALETTE.size)]),
        PALETTE.convert("RGB"),
    ),
    "animated WebP": (
        encoded(
            PICTURE,
            "WEBP",
            save_all=True,
            lossless=True,
            append_images=[Image.new("RGB", PICTURE.size)],
        ),
        PICTURE,
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_any_other_image_is_converted_to_rgb_that_tensorflow_decodes(kind):
    data, expected = OTHERS[kind]
    image = read_image(data)
    assert image.data != data
    assert (image.width, image.height) == expected.size
    assert difference(image.data, expected) < 8


def test_a_lossless_image_stays_lossless_and_a_lossy_one_becomes_jpeg():
    assert difference(read_image(encoded(PICTURE, "BMP")).data, PICTURE) == 0
    assert read_image(encoded(PICTURE, "BMP")).data.startswith(b"\x89PNG")
    assert read_image(encoded(PICTURE, "WEBP")).data.startswith(b"\xff\xd8")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(kind, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encoded(PICTURE, kind, exif=exif, quality=95)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    image = read_image(data)
    assert (image.width, image.height) == upright.size
    assert difference(image.data, upright) < 8
    assert ExifTags.Base.Orientation not in Image.open(io.BytesIO(image.data)).getexif() or (
        orientation == 1
    )


def test_an_image_with_a_broken_exif_block_is_accepted():
    data = encoded(PICTURE, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert read_image(data).data == data


BROKEN = {
    "truncated JPEG": JPEG[: len(JPEG) // 2],
    "JPEG without its last bytes": JPEG[:-20],
    "truncated progressive JPEG": PLAIN["progressive JPEG"][:-200],
    "truncated PNG": PLAIN["PNG"][: len(PLAIN["PNG"]) // 2],
    "truncated GIF": OTHERS["GIF"][0][: len(OTHERS["GIF"][0]) // 2],
    "truncated WebP": OTHERS["WebP"][0][: len(OTHERS["WebP"][0]) // 2],
    "truncated TIFF": OTHERS["TIFF"][0][: len(OTHERS["TIFF"][0]) // 2],
    "truncated AVIF": OTHERS["AVIF"][0][: len(OTHERS["AVIF"][0]) // 2],
    "truncated grey JPEG": OTHERS["grey JPEG"][0][:-200],
    "PNG with a wrong checksum": PLAIN["PNG"][:60] + b"\0\0\0\0" + PLAIN["PNG"][64:],
}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_image_that_does_not_decode_is_refused(kind):
    assert refusal(BROKEN[kind]).reason == "undecodable"


def test_a_jpeg_that_is_scaled_down_is_also_read_to_its_end():
    large = encoded(picture(3, size=(640, 480)), quality=90)
    assert refusal(large[:-300], max_side=64).reason == "undecodable"


@pytest.mark.parametrize(
    "data", [b"this is no image" * 9, b"\0", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_a_file_that_is_not_an_image_is_refused(data):
    assert refusal(data).reason == "not_an_image"


UNSUPPORTED = {
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
    "HEIF": b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(100),
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100),
    "ICO": encoded(PICTURE, "ICO"),
    "PSD": b"8BPS\0\x01" + bytes(100),
    "camera raw": b"FUJIFILMCCD-RAW " + bytes(100),
    "DDS": encoded(PICTURE, "DDS"),
    "QOI": b"qoif" + bytes(100),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_image_of_an_unsupported_format_is_undecodable_and_to_be_converted(name):
    error = refusal(UNSUPPORTED[name])
    assert error.reason == "undecodable"
    assert error.detail.startswith(
        f"{name} is not supported; convert it to JPEG or PNG; supported formats are JPEG, PNG, "
    )
    assert error.detail.endswith(f"Received: {len(UNSUPPORTED[name]):,} bytes")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
def test_a_damaged_header_of_a_supported_format_is_undecodable(kind):
    error = refusal(encoded(PICTURE, kind)[:16])
    assert error.reason == "undecodable"
    assert "is not supported" not in error.detail


SECRETS = {
    "text": b"secret token",
    "PPM": b"P6 12 secret 255\n",
    "PPM of text": b"P3 1 1 255 secret",
    "PNG with another chunk": PLAIN["PNG"][:33] + b"\0\0\0\5secret" + PLAIN["PNG"][33:],
    "TIFF": b"II*\0\x08\0\0\0secret",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_refusal_contains_nothing_of_the_file(kind):
    error = refusal(SECRETS[kind])
    assert "secr" not in str(error)
    assert error.detail


def test_an_empty_file_is_refused():
    assert refusal(b"").reason == "empty"


def png_header(width: int, height: int) -> bytes:
    """The start of a 1-bit PNG, without its pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(header))
    start = struct.pack(">I", 8) + b"IDAT" + bytes(12)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + checksum + start


def test_a_decompression_bomb_is_refused_by_its_header():
    assert refusal(png_header(50_000, 50_000)).reason == "too_large"
    bomb = refusal(png_header(9_000, 9_000))
    assert (bomb.reason, bomb.detail) == (
        "too_large",
        "at most 50,000,000 pixels are allowed. Received: 9000 x 9000 pixels",
    )


def test_more_bytes_than_the_pixels_can_need_are_refused():
    pixels = PICTURE.width * PICTURE.height
    most = 8 * pixels + 2**20
    assert read_image(JPEG.ljust(most, b"\0"), max_pixels=pixels)
    assert refusal(JPEG.ljust(most + 1, b"\0"), max_pixels=pixels).reason == "too_large"


@pytest.mark.parametrize("kind", ["WebP", "AVIF", "JPEG 2000", "16-bit PNG", "16-bit TIFF"])
def test_a_format_that_takes_twice_the_memory_may_have_half_the_pixels(kind):
    data, expected = OTHERS[kind]
    pixels = expected.width * expected.height
    assert read_image(data, max_pixels=2 * pixels)
    error = refusal(data, max_pixels=2 * pixels - 2)
    assert error.reason == "too_large"
    assert f"at most {pixels - 1:,} pixels of WebP, AVIF" in error.detail


def with_scans(data: bytes, count: int) -> bytes:
    """A JPEG with that many more scans, of its first component, which change nothing."""
    return data[:-2] + bytes.fromhex("ffda00080101000000100000") * count + data[-2:]


@pytest.mark.parametrize("change", ["", "grey", "turned", "thumbnail"])
def test_a_jpeg_with_many_scans_of_many_pixels_is_too_slow(change):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6 if change == "turned" else 1
    image = GREY if change == "grey" else PICTURE
    comment = with_scans(JPEG, 99) if change == "thumbnail" else b""
    data = encoded(image, progressive=True, exif=exif, comment=comment)
    own = jpeg.scans(data)
    assert own <= 10
    pixels = image.width * image.height
    assert read_image(with_scans(data, 32 - own), max_pixels=2 * pixels)
    error = refusal(with_scans(data, 33 - own), max_pixels=2 * pixels)
    assert error.reason == "too_slow"
    assert error.detail.endswith("save it as a baseline JPEG. Received: 33 scans")


def test_max_pixels_is_the_largest_size_that_is_accepted():
    pixels = PICTURE.width * PICTURE.height
    assert read_image(JPEG, max_pixels=pixels).data == JPEG
    assert refusal(JPEG, max_pixels=pixels - 1).reason == "too_large"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_image_is_scaled_down_to_max_side_and_keeps_its_aspect_ratio(kind):
    large = picture(5, size=(600, 400))
    image = read_image(encoded(large, kind, quality=95), max_side=150)
    assert (image.width, image.height) == (150, 100)
    expected = large.resize((150, 100), Image.Resampling.LANCZOS)
    assert difference(image.data, expected) < 2


def test_an_image_within_max_side_keeps_its_bytes():
    assert read_image(JPEG, max_side=max(PICTURE.size)).data == JPEG


def test_max_side_bounds_the_longest_side_of_the_upright_image():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image = read_image(encoded(picture(5, size=(600, 400)), exif=exif), max_side=150)
    assert (image.width, image.height) == (100, 150)


def test_an_image_that_is_encoded_again_keeps_only_the_pixels_of_the_source():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    exif[ExifTags.Base.Artist] = "someone"
    data = encoded(PICTURE, exif=exif, icc_profile=b"a profile", comment=b"a comment")
    info = Image.open(io.BytesIO(read_image(data).data)).info
    assert not {"exif", "icc_profile", "comment"} & set(info)


def damaged(data: bytes, rng: random.Random) -> bytes:
    copy = bytearray(data)
    place = rng.randrange(2, len(copy) - 60)
    match rng.randrange(4):
        case 0:
            copy[place : place + rng.randrange(1, 60)] = b""
        case 1:
            copy[place:place] = rng.randbytes(rng.randrange(1, 60))
        case 2:
            copy[place : place + 40] = bytes(40)
        case _:
            for _ in range(rng.randrange(1, 8)):
                copy[rng.randrange(2, len(copy))] = rng.randrange(256)
    return bytes(copy)


@pytest.mark.parametrize("kind", ["baseline JPEG", "progressive JPEG", "PNG"])
def test_a_damaged_file_is_either_refused_or_decodes_in_training(kind):
    rng = random.Random(0)
    accepted = 0
    for _ in range(400):
        try:
            image = read_image(damaged(PLAIN[kind], rng))
        except RefusedImageError:
            continue
        accepted += 1
        assert decoded(image.data).shape == (image.height, image.width, 3)
    assert 0 < accepted < 400


def test_a_jpeg_that_pillow_decodes_and_tensorflow_does_not_is_encoded_again():
    stray_marker = JPEG[:-2] + b"\xff\xfe" + JPEG[-2:]
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoded(stray_marker)
    image = read_image(stray_marker)
    assert difference(image.data, PICTURE) < 8


def test_an_arithmetic_coded_jpeg_is_accepted_only_if_it_decodes_in_training():
    # Start of frame 9 means arithmetic coding.
    arithmetic = JPEG.replace(b"\xff\xc0", b"\xff\xc9", 1)
    assert not jpeg.is_whole(arithmetic)
    image = read_image(arithmetic)
    assert decoded(image.data).shape == (image.height, image.width, 3)


def test_a_whole_jpeg_is_recognized():
    assert jpeg.is_whole(JPEG)
    assert jpeg.is_whole(PLAIN["JPEG with restart markers"])
    assert jpeg.is_whole(PLAIN["progressive JPEG"])
    assert jpeg.is_whole(PLAIN["JPEG with trailing bytes"])
    assert jpeg.is_whole(JPEG[:-2] + b"\xff\xff\xfe\x00\x02\xff\xd9")
    assert jpeg.is_whole(JPEG + JPEG)
    assert not jpeg.is_whole(JPEG[:-2] + b"\xff\xfe\x00\x01\xff\xd9")
    # No marker, though it takes a search that goes back at each byte hours to find that out.
    assert jpeg.is_whole(JPEG[:-2] + bytes(10) + b"\xff" * (1 << 20) + b"\x00\xff\xd9")
    assert not jpeg.is_whole(JPEG[:-2])
    assert not jpeg.is_whole(JPEG[:-2] + b"\xff\xfe")
    assert not jpeg.is_whole(PLAIN["PNG"])
    assert not jpeg.is_whole(b"")


def test_a_whole_png_is_recognized():
    data = PLAIN["PNG"]
    assert png.is_whole(data)
    assert png.is_whole(data + b"trailing")
    assert not png.is_whole(data[:-12])
    assert not png.is_whole(data[:-1])
    assert not png.is_whole(JPEG)
    assert not png.is_whole(b"")


def test_the_reader_imports_neither_tensorflow_nor_tfx():
    program = "import sys, components.images.reader; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
