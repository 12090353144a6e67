"""Encoded images of the kinds that clients send."""

import numpy as np
from pictures_on_disk import encoded, picture
from PIL import ExifTags, Image


def rotated(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(picture(orientation, size=(32, 24)), exif=exif)


def with_alpha():
    alpha = Image.linear_gradient("L").resize((64, 48))
    image = picture(1)
    image.putalpha(alpha)
    return encoded(image, "PNG")


def sixteen_bits():
    return encoded(Image.fromarray(np.arange(0, 48 * 1000, 1000, np.uint16).reshape(6, 8)), "PNG")


IMAGES = {
    "jpeg": encoded(picture(20, size=(32, 24))),
    "large jpeg": encoded(picture(21, size=(200, 100))),
    "cmyk jpeg": encoded(picture(22).convert("CMYK")),
    "grey jpeg": encoded(picture(23).convert("L")),
    "tiff": encoded(picture(24), "TIFF"),
    "webp": encoded(picture(25), "WEBP"),
    "avif": encoded(picture(26), "AVIF"),
    "jpeg 2000": encoded(picture(27), "JPEG2000"),
    "gif": encoded(picture(28).convert("P"), "GIF"),
    "bmp": encoded(picture(29), "BMP"),
    "png with alpha": with_alpha(),
    "16 bit png": sixteen_bits(),
    **{f"jpeg of orientation {n}": rotated(n) for n in range(2, 9)},
}
