"""Paths given by users."""

import os
import pwd
from pathlib import Path

import pytest

from components import paths
from components.paths import PathError

SELF = pwd.getpwuid(os.getuid())
EACH = pytest.mark.parametrize("kind", [paths.local, paths.weights, paths.source])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@EACH
def test_the_tilde_is_expanded_to_the_home_folder(kind, home):
    assert kind("~/models") == f"{home}/models"
    assert kind("~") == str(home)
    assert kind(f"~{SELF.pw_name}/models") == f"{SELF.pw_dir}/models"
    assert kind("./~/models") == "./~/models"
    assert kind("photos~1") == "photos~1"


@EACH
def test_a_user_without_a_home_folder_is_refused(kind):
    with pytest.raises(ValueError, match="the user '~nobody-at-all' has no home folder"):
        kind("~nobody-at-all/models")


@EACH
@pytest.mark.parametrize("uri", ["file:///a b/c", "file://localhost/a%20b/c", "FILE:///a%20b/c"])
def test_a_file_uri_is_converted_to_its_path(kind, uri):
    assert kind(uri) == "/a b/c"


@EACH
@pytest.mark.parametrize("path", ["", " ", "a\0b", "file://elsewhere/a", "file://"])
def test_a_path_that_is_not_on_this_machine_is_refused(kind, path):
    with pytest.raises(ValueError, match="must"):
        kind(path)


@EACH
@pytest.mark.parametrize("path", ["photos", "/a[1]/b*", "c:/photos"])
def test_other_paths_are_unchanged(kind, path):
    assert kind(path) == path


@pytest.mark.parametrize("scheme", ["gs", "s3", "https", "minio", "GS"])
def test_a_scheme_is_refused_by_name_if_a_folder_is_required(scheme):
    with pytest.raises(ValueError, match=f"{scheme}:// is not supported here; mount the bucket"):
        paths.local(f"{scheme}://bucket/models")
    with pytest.raises(ValueError, match=f"{scheme}:// is not supported here; copy the file"):
        paths.weights(f"{scheme}://bucket/x.weights.h5")


def test_images_may_be_in_a_bucket_with_a_known_scheme():
    assert paths.source("gs://bucket/photos") == "gs://bucket/photos"
    assert paths.source("S3://Bucket/Photos") == "s3://Bucket/Photos"
    with pytest.raises(ValueError, match="https:// is not supported"):
        paths.source("https://example.com/photos")
    with pytest.raises(ValueError, match="minio:// is not supported here; use s3://"):
        paths.source("minio://bucket/photos")
    with pytest.raises(ValueError, match="must contain the name of a bucket"):
        paths.source("gs:///")


def test_a_folder_is_checked_by_writing_to_it_even_for_root(tmp_path):
    with pytest.raises(PathError, match="store must be a writable folder: /proc is not"):
        paths.check_can_be_folder("store", "/proc/x")
    paths.check_can_be_folder("store", str(tmp_path / "new" / "folder"))
    assert not any(tmp_path.iterdir())
