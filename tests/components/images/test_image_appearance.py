import numpy as np
import pytest
from pictures_on_disk import PHOTOGRAPHS, encoded, picture
from PIL import Image, ImageFilter
from scipy import ndimage

from components.images import isolated
from components.images.appearance import appearance
from components.images.reader import read_image


def test_the_measures_equal_their_definitions():
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)
    found = appearance(Image.fromarray(pixels))
    kernel = [[0, -1, 0], [-1, 4, -1], [0, -1, 0]]
    laplacian = ndimage.convolve(pixels.astype(float), kernel)[1:-1, 1:-1]
    assert found.brightness == pytest.approx(pixels.mean(), abs=0.01)
    assert found.sharpness == pytest.approx(laplacian.var(), abs=0.01)


def test_an_image_of_one_colour_has_its_brightness_and_no_sharpness():
    for level in (0, 100, 255):
        assert appearance(Image.new("L", (300, 200), level)) == (level, 0)


def test_blur_lowers_the_sharpness_at_any_size():
    for size in ((90, 70), (160, 120), (700, 500)):
        image = picture(3, size=size).convert("L")
        blurred = image.filter(ImageFilter.GaussianBlur(size[0] / 60))
        assert appearance(blurred).sharpness < 0.5 * appearance(image).sharpness


def test_a_small_image_is_not_sharp_because_it_is_small():
    image = picture(3, size=(512, 384)).convert("L")
    small = image.resize((40, 30), Image.Resampling.BOX)
    assert appearance(small).sharpness < appearance(image).sharpness


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_image_is_measured_when_it_is_read_in_any_format(kind):
    image = picture(5, size=(640, 480))
    found = isolated.read_image(encoded(image, kind))
    expected = appearance(image.convert("L"))
    assert found.source_pixels == 640 * 480
    assert found.brightness == pytest.approx(expected.brightness, abs=1)
    assert found.sharpness == pytest.approx(expected.sharpness, rel=0.25, abs=5)


def test_an_image_that_is_scaled_down_has_the_size_of_its_source():
    found = read_image(encoded(picture(5, size=(640, 480))), max_side=160)
    assert (found.width, found.height, found.source_pixels) == (160, 120, 640 * 480)


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason=f"no photographs in {PHOTOGRAPHS}")
def test_a_blurred_photograph_is_less_sharp_than_the_photograph():
    paths = sorted(PHOTOGRAPHS.glob("*/*"))[::250]
    pairs = [
        [
            appearance(each.convert("L")).sharpness
            for each in (image, image.filter(ImageFilter.BLUR))
        ]
        for image in map(Image.open, paths)
    ]
    assert all(blurred < sharp for sharp, blurred in pairs)
