import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from apache_beam.io.localfilesystem import LocalFileSystem

from components.image_example_gen.sources import (
    SourceError,
    class_names,
    data_version,
    list_images,
)

DATA = b"not read by a listing"


def make(root: Path, *names: str) -> Path:
    root.mkdir(exist_ok=True)
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(DATA)
    return root


def uris(records) -> list[str]:
    return [record.uri for record in records]


def test_each_folder_is_a_class_and_each_file_below_it_an_image(tmp_path):
    source = make(tmp_path / "s", "dogs/b.jpg", "dogs/deep/er/a.png", "cats/1.jpg", "birds/x")
    records = list_images(str(source), positive_class="dogs")
    assert uris(records) == ["birds/x", "cats/1.jpg", "dogs/b.jpg", "dogs/deep/er/a.png"]
    assert class_names(records) == ["birds", "cats", "dogs"]
    assert records[-1].path == str(source / "dogs/deep/er/a.png")
    assert {(record.size, record.slices) for record in records} == {(len(DATA), ())}


def test_any_unicode_and_spaces_in_names_are_kept(tmp_path):
    names = ["Größe é/ein Bild – 写真 🐶.jpg", "two  spaces/ leading.jpg", "z/#%?*[1].jpg"]
    assert uris(list_images(str(make(tmp_path / "s", *names)))) == sorted(names)


def test_a_name_that_is_not_unicode_is_listed_in_writing(tmp_path):
    source = make(tmp_path / "s", "cats/1.jpg", "dogs/1.jpg")
    path = os.path.join(os.fsencode(source), b"dogs", b"caf\xe9.jpg")
    with open(path, "wb") as file:
        file.write(DATA)
    record = list_images(str(source))[-1]
    assert record.uri == "dogs/caf\\xe9.jpg"
    assert os.fsencode(record.path) == path


def test_a_class_name_is_the_same_however_its_accents_are_composed(tmp_path):
    decomposed = unicodedata.normalize("NFD", "café")
    source = make(tmp_path / "s", f"{decomposed}/1.jpg", "cats/1.jpg")
    records = list_images(str(source), positive_class=unicodedata.normalize("NFC", "café"))
    assert class_names(records) == [unicodedata.normalize("NFC", "café"), "cats"]


def test_leftovers_of_operating_systems_and_hidden_files_are_passed_over(tmp_path):
    leftovers = ["Thumbs.db", "cats/Thumbs.db", "cats/.DS_Store", "cats/desktop.ini", "dogs/._a"]
    folders = ["__MACOSX/cats/1.jpg", ".git/objects/1", "cats/.cache/2.jpg"]
    source = make(tmp_path / "s", "cats/1.jpg", "dogs/1.jpg", *leftovers, *folders)
    assert uris(list_images(str(source))) == ["cats/1.jpg", "dogs/1.jpg"]


def test_files_beside_the_class_folders_are_passed_over(tmp_path):
    source = make(tmp_path / "s", "cats/1.jpg", "dogs/1.jpg", "README.txt")
    assert uris(list_images(str(source))) == ["cats/1.jpg", "dogs/1.jpg"]


def test_links_are_followed_once_and_dangling_ones_listed(tmp_path):
    source = make(tmp_path / "s", "cats/1.jpg")
    make(tmp_path / "elsewhere", "2.jpg")
    (source / "dogs").symlink_to(tmp_path / "elsewhere")
    (source / "cats" / "round").symlink_to(source / "cats")
    (source / "cats" / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    (source / "cats" / "self.jpg").symlink_to(source / "cats" / "self.jpg")
    records = list_images(str(source))
    assert uris(records) == ["cats/1.jpg", "cats/gone.jpg", "cats/self.jpg", "dogs/2.jpg"]
    assert [record.size for record in records] == [len(DATA), -1, -1, len(DATA)]


CSV = "uri,label,breed,light\ncats/1.jpg,cats,tabby,day\ndogs/1.jpg,dogs,,night\n"


@pytest.fixture
def source(tmp_path):
    return make(tmp_path / "s", "cats/1.jpg", "cats/2.jpg", "dogs/1.jpg")


def manifest(source: Path, text: str, name: str = "manifest.csv") -> str:
    (source / name).write_bytes(text.encode())
    return str(source / name)


def test_a_manifest_names_the_images_their_classes_and_their_slices(source):
    path = manifest(source, CSV)
    cat, dog = list_images(str(source), manifest=path, slices=["light", "breed"])
    assert (cat.uri, cat.class_name) == ("cats/1.jpg", "cats")
    assert cat.slices == (("light", "day"), ("breed", "tabby"))
    assert dog.slices == (("light", "night"), ("breed", ""))
    assert dog.path == str(source / "dogs/1.jpg")


def test_json_lines_give_the_same_as_csv_and_values_become_text(source):
    rows = [
        {
            "uri": "./dogs/../dogs/1.jpg",
            "label": "dogs",
            "light": "night",
            "age": 3,
            "indoors": True,
        },
        {"uri": "cats/1.jpg", "label": "cats", "light": "day", "age": None},
    ]
    path = manifest(source, "\n".join(map(json.dumps, rows)) + "\n\n", "rows.jsonl")
    records = list_images(str(source), manifest=path, slices=["light", "age", "indoors"])
    assert uris(records) == ["cats/1.jpg", "dogs/1.jpg"]
    assert [dict(record.slices) for record in records] == [
        {"light": "day", "age": "", "indoors": ""},
        {"light": "night", "age": "3", "indoors": "true"},
    ]


def test_a_manifest_from_a_spreadsheet_is_read(source):
    path = manifest(source, "\ufeffuri, label\r\ncats/1.jpg,cats\r\n\r\n dogs/1.jpg ,dogs\r\n")
    assert uris(list_images(str(source), manifest=path)) == ["cats/1.jpg", "dogs/1.jpg"]


def test_a_manifest_is_sought_in_the_source_too(source):
    manifest(source, CSV)
    assert len(list_images(str(source), manifest="manifest.csv")) == 2


def test_a_manifest_may_point_out_of_the_source(source, tmp_path):
    outside = make(tmp_path / "t", "3.jpg") / "3.jpg"
    path = manifest(source, f"uri,label\ncats/1.jpg,cats\n{outside},dogs\n")
    assert {record.uri for record in list_images(str(source), manifest=path)} == {
        "cats/1.jpg",
        str(outside),
    }


def test_the_order_of_a_manifest_has_no_say(source):
    lines = CSV.splitlines()
    shuffled = "\n".join([lines[0], *reversed(lines[1:])])
    first = list_images(str(source), manifest=manifest(source, CSV), slices=["breed"])
    second = list_images(str(source), manifest=manifest(source, shuffled), slices=["breed"])
    assert first == second
    assert data_version(first) == data_version(second)


def test_a_row_given_twice_counts_once_and_two_labels_of_one_file_both_count(source):
    rows = "uri,label\ncats/1.jpg,cats\ncats/1.jpg,cats\ndogs/1.jpg,dogs\ndogs/1.jpg,cats\n"
    records = list_images(str(source), manifest=manifest(source, rows))
    assert [(record.uri, record.class_name) for record in records] == [
        ("cats/1.jpg", "cats"),
        ("dogs/1.jpg", "cats"),
        ("dogs/1.jpg", "dogs"),
    ]


def test_data_version_changes_with_what_it_stands_for(source, tmp_path):
    path = manifest(source, CSV)
    first = list_images(str(source), manifest=path, slices=["breed"])
    versions = {data_version(first), data_version(list_images(str(source), manifest=path))}
    relabelled = manifest(source, CSV.replace("tabby", "siamese"))
    versions.add(data_version(list_images(str(source), manifest=relabelled, slices=["breed"])))
    (source / "cats/1.jpg").write_bytes(b"other")
    os.utime(source / "cats/1.jpg", ns=(0, 0))
    versions.add(data_version(list_images(str(source), manifest=path, slices=["breed"])))
    assert len(versions) == 4
    os.utime(source / "cats/1.jpg", ns=(1, 1))
    assert data_version(list_images(str(source), manifest=path, slices=["breed"])) not in versions


def rewritten_in_place(path, place: int) -> None:
    """Changes one byte of a file, and neither its size nor its time of change."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"X")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("verify", "notices_head", "notices_tail"),
    [("size_and_time", False, False), ("heads", True, False), ("content", True, True)],
)
def test_an_image_rewritten_in_place_is_noticed_as_closely_as_was_asked(
    source, verify, notices_head, notices_tail
):
    def version() -> str:
        return data_version(list_images(str(source)), verify=verify)

    image = source / "cats/1.jpg"
    image.write_bytes(bytes(200_000))
    first = version()
    rewritten_in_place(image, 150_000)
    second = version()
    assert (second != first) == notices_tail
    rewritten_in_place(image, 60_000)
    assert (version() != second) == notices_head


@pytest.mark.parametrize("verify", ["size_and_time", "heads", "content"])
def test_a_copy_with_its_times_is_the_same_data(source, tmp_path, verify):
    shutil.copytree(source, tmp_path / "copy")
    (tmp_path / "copy" / "dogs" / "gone.jpg").symlink_to("nowhere")
    (source / "dogs" / "gone.jpg").symlink_to("nowhere")
    versions = {
        data_version(list_images(str(folder)), verify=verify)
        for folder in (source, tmp_path / "copy")
    }
    assert len(versions) == 1


def test_each_image_looked_at_is_counted(source):
    records, counted = list_images(str(source)), []
    data_version(records, advance=lambda: counted.append(1))
    assert len(counted) == len(records)


def test_data_version_stays_when_the_source_moves(source, tmp_path):
    before = data_version(list_images(str(source)))
    source.rename(tmp_path / "moved")
    assert data_version(list_images(str(tmp_path / "moved"))) == before


def listing_fails(source, match: str, **arguments) -> None:
    with pytest.raises(SourceError, match=match):
        list_images(str(source), **arguments)


def test_a_folder_that_is_not_one_is_refused(tmp_path):
    listing_fails(tmp_path / "none", "no such folder: .*none")
    listing_fails(make(tmp_path / "s", "a.zip") / "a.zip", "is a file, not a folder")


def test_a_folder_without_images_is_refused(tmp_path):
    listing_fails(make(tmp_path / "empty"), "no images .*it is empty")
    (tmp_path / "empty" / "cats").mkdir()
    listing_fails(tmp_path / "empty", "no images .*it is empty")


def test_images_without_class_folders_are_refused(tmp_path):
    source = make(tmp_path / "s", "b.jpg", "a.jpg")
    listing_fails(source, r"2 files directly in it, such as 'a\.jpg', and no class folders")


def test_one_class_only_is_refused(tmp_path):
    source = make(tmp_path / "s", "cats/1.jpg")
    (source / "dogs").mkdir()
    listing_fails(source, "one class only, 'cats'", positive_class="dogs")


@pytest.mark.parametrize("asked", ["dog", "Dogs", "dgos"])
def test_a_positive_class_that_is_not_there_gets_the_nearest_suggested(source, asked):
    listing_fails(
        source, f"no class '{asked}'.*'cats', 'dogs'; did you mean 'dogs'", positive_class=asked
    )


def test_a_positive_class_like_no_other_gets_none_suggested(source):
    with pytest.raises(SourceError, match="no class 'zebra'") as error:
        list_images(str(source), positive_class="zebra")
    assert "did you mean" not in str(error.value)


def test_a_class_that_is_not_among_the_known_is_refused(source):
    path = manifest(source, CSV.replace("jpg,dogs", "jpg,dgos"))
    match = "unknown class in .*no class 'dgos'; .*did you mean 'dogs'"
    listing_fails(source, match, manifest=path, known_classes={"cats", "dogs"})


def test_slices_need_a_manifest_that_has_them(source):
    listing_fails(source, "need a manifest", slices=["breed"])
    path = manifest(source, CSV)
    listing_fails(source, "no column 'bred'.*did you mean 'breed'", manifest=path, slices=["bred"])
    listing_fails(source, "'width' is the name of a feature", manifest=path, slices=["width"])
    listing_fails(source, "names a column twice", manifest=path, slices=["breed", "breed"])


BAD_MANIFESTS = {
    "no uri": ("file,label\na,cats\n", r"no column 'uri'; found \['file', 'label'\]"),
    "no label": ("uri,breed\ncats/1.jpg,x\n", r"no column 'label'; found \['breed', 'uri'\]"),
    "empty label": ("uri,label\ncats/1.jpg,cats\ndogs/1.jpg, \n", "line 3: empty 'label'"),
    "short row": ("uri,label\ncats/1.jpg\n", "line 2: empty 'label'"),
    "empty uri": ("uri,label\n,cats\n", "line 2: empty 'uri'"),
    "long row": ("uri,label\ncats/1.jpg,cats,x\n", "line 2: 3 fields, but the header has 2"),
    "twice": ("uri,label,uri\na,b,c\n", r"columns \['uri'\] more than once"),
    "no rows": ("uri,label\n", "has no rows"),
    "empty": ("", "no column 'uri'"),
    "missing": (
        "uri,label\ncats/1.jpg,cats\ndogs/9.jpg,dogs\n",
        r"files that are not there: 'dogs/9\.jpg' \(line 3\)",
    ),
    "a folder": ("uri,label\ncats,cats\n", r"files that are not there: 'cats' \(line 2\)"),
    "quotes": ('uri,label\n"cats/1.jpg,cats\n', "line 2"),
}


@pytest.mark.parametrize("case", BAD_MANIFESTS)
def test_a_csv_manifest_that_is_wrong_is_refused_with_the_place(source, case):
    text, match = BAD_MANIFESTS[case]
    listing_fails(source, match, manifest=manifest(source, text))


BAD_JSON_LINES = {
    "broken": ('{"uri": "cats/1.jpg", "label": "cats"}\n{"uri": "dogs', "line 2 is not JSON"),
    "array": ('[{"uri": "cats/1.jpg"}]', "line 1 is not a JSON object"),
    "no label": ('{"uri": "cats/1.jpg"}', "line 1, has no column 'label'"),
    "null label": ('{"uri": "cats/1.jpg", "label": null}', "line 1: empty 'label'"),
    "nested": ('{"uri": "cats/1.jpg", "label": {"a": 1}}', "line 1: 'label' is {\"a\": 1}"),
    "surrogate": ('{"uri": "cats/1.jpg", "label": "\\ud800"}', "line 1: 'label' is .*Unicode"),
}


@pytest.mark.parametrize("case", BAD_JSON_LINES)
def test_a_json_lines_manifest_that_is_wrong_is_refused_with_the_place(source, case):
    text, match = BAD_JSON_LINES[case]
    listing_fails(source, match, manifest=manifest(source, text, "m.jsonl"))


def test_a_manifest_that_cannot_be_read_is_refused(source):
    listing_fails(source, "no such manifest: none.csv", manifest="none.csv")
    listing_fails(source, "neither CSV nor JSON lines", manifest=manifest(source, CSV, "m.xlsx"))
    (source / "latin.csv").write_bytes("uri,label\ncafé,x\n".encode("latin-1"))
    listing_fails(source, "not UTF-8", manifest="latin.csv")


def test_more_missing_files_than_fit_are_counted(source):
    rows = "".join(f"cats/x{number}.jpg,cats\n" for number in range(5))
    listing_fails(source, "and 2 more", manifest=manifest(source, f"uri,label\n{rows}"))


class Bucket(LocalFileSystem):
    """A Beam file system with a scheme of its own: `bucket://` and a path on this disk."""

    @classmethod
    def scheme(cls):
        return "bucket"

    def _list(self, dir_or_prefix):
        for metadata in super()._list(dir_or_prefix.removeprefix("bucket://")):
            metadata.path = f"bucket://{metadata.path}"
            yield metadata

    def has_dirs(self):
        return False

    def _path_open(self, path, mode, *arguments, **options):
        return super()._path_open(path.removeprefix("bucket://"), mode, *arguments, **options)

    def join(self, basepath, *paths):
        return "/".join([basepath.rstrip("/"), *paths])


def test_a_bucket_is_listed_and_read_as_a_folder_is(source):
    local = list_images(str(source), positive_class="dogs")
    remote = list_images(f"bucket://{source}/", positive_class="dogs")
    assert [(r.uri, r.class_name, r.size) for r in remote] == [
        (r.uri, r.class_name, r.size) for r in local
    ]
    assert remote[0].path == f"bucket://{source}/cats/1.jpg"


def test_a_manifest_in_a_bucket_is_read(source):
    manifest(source, CSV)
    records = list_images(f"bucket://{source}", manifest="manifest.csv", slices=["breed"])
    assert [(record.uri, dict(record.slices)) for record in records] == [
        ("cats/1.jpg", {"breed": "tabby"}),
        ("dogs/1.jpg", {"breed": ""}),
    ]
    manifest(source, CSV.replace("dogs/1", "dogs/9"))
    listing_fails(f"bucket://{source}", "not there: 'dogs/9", manifest="manifest.csv")


def test_a_bucket_that_is_not_there_is_refused():
    listing_fails("nowhere://bucket/photos", "can't be listed")


def test_listing_imports_nothing_heavy():
    heavy = "{'tensorflow', 'tfx', 'apache_beam', 'numpy', 'PIL', 'pandas'}"
    code = (
        "import sys; import components.image_example_gen.sources; "
        f"sys.exit(', '.join({heavy} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
