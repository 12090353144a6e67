import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from apache_beam.io.localfilesystem import LocalFileSystem

from components import beam_io, names
from components.image_example_gen import files
from components.image_example_gen.files import passed_over_text
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


def test_unicode_and_spaces_in_names_are_kept(tmp_path):
    names = ["Größe é/ein Bild – 写真 🐶.jpg", "two  spaces/ leading.jpg", "z/#%?*[1].jpg"]
    assert uris(list_images(str(make(tmp_path / "s", *names)))) == sorted(names)


def test_a_name_that_is_not_unicode_is_listed_with_escapes(tmp_path):
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


LEFTOVERS = {
    "hidden files": ["cats/.DS_Store", "dogs/._1.jpg", "cats/.picasa.ini", ".nomedia"],
    "Thumbs.db": ["Thumbs.db", "cats/Thumbs.db"],
    "desktop.ini": ["cats/desktop.ini"],
    "*.xmp": ["cats/1.xmp", "cats/1.jpg.XMP"],
    "*.aae": ["dogs/1.AAE"],
    "*.thm": ["dogs/1.thm"],
    "__MACOSX/": ["__MACOSX/cats/1.jpg"],
    ".git/": [".git/objects/1"],
    ".cache/": ["cats/.cache/2.jpg"],
    "@eaDir/": ["dogs/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", "cats/a/@eaDir/1.jpg", "@eaDir/x/1.jpg"],
    "#recycle/": ["#recycle/1.jpg"],
    "@Recycle/": ["@Recycle/dogs/1.jpg"],
    ".@__thumb/": ["dogs/.@__thumb/1.jpg"],
    "@tmp/": ["dogs/@tmp/1.jpg"],
    "$RECYCLE.BIN/": ["$RECYCLE.BIN/S-1/1.jpg"],
    "System Volume Information/": ["System Volume Information/1"],
    ".Trashes/": [".Trashes/501/1.jpg"],
    "lost+found/": ["lost+found/1"],
    ".AppleDouble/": ["dogs/.AppleDouble/1.jpg"],
    "~snapshot/": ["~snapshot/hourly.0/dogs/1.jpg"],
    "files beside the class folders": ["README.txt", "manifest.csv"],
}


@pytest.mark.parametrize("scheme", ["", "bucket://"])
def test_leftovers_of_operating_and_storage_systems_are_passed_over_and_counted(tmp_path, scheme):
    names = [name for left in LEFTOVERS.values() for name in left]
    source = make(tmp_path / "s", "cats/1.jpg", "cats/a/2.jpg", "dogs/1.jpg", *names)
    passed_over = Counter()
    records = list_images(f"{scheme}{source}", passed_over=passed_over)
    assert uris(records) == ["cats/1.jpg", "cats/a/2.jpg", "dogs/1.jpg"]
    assert passed_over == {kind: len(left) for kind, left in LEFTOVERS.items()}


def test_an_error_about_missing_images_lists_what_was_passed_over(tmp_path):
    source = make(tmp_path / "s", "cats/1.jpg", ".dogs/1.jpg")
    listing_fails(source, r"two classes.*passed over: \.dogs/ \(1\)\. Received: 'cats' only")
    source = make(tmp_path / "t", "@eaDir/1.jpg", ".dogs/1.jpg")
    listing_fails(source, r"is empty \(passed over: \.dogs/ \(1\), @eaDir/ \(1\)\)")


def test_a_text_about_many_kinds_is_shortened():
    passed_over = {f".{number}/": 1 for number in range(12)} | {"@eaDir/": 1200}
    assert passed_over_text({}) == ""
    assert passed_over_text(passed_over).startswith("passed over: @eaDir/ (1,200), .0/ (1), ")
    assert passed_over_text(passed_over).endswith(" and 3 more kinds")


def test_a_source_may_be_in_a_folder_that_would_be_passed_over(tmp_path):
    (tmp_path / "@tmp").mkdir()
    source = make(tmp_path / "@tmp" / ".photos", "cats/1.jpg", "dogs/1.jpg")
    assert uris(list_images(str(source))) == ["cats/1.jpg", "dogs/1.jpg"]


def test_a_pipe_is_not_an_image(tmp_path):
    source = make(tmp_path / "s", "cats/1.jpg", "dogs/1.jpg")
    os.mkfifo(source / "dogs" / "pipe.jpg")
    passed_over = Counter()
    assert uris(list_images(str(source), passed_over=passed_over)) == ["cats/1.jpg", "dogs/1.jpg"]
    assert passed_over == {"pipes and devices": 1}


SPELLINGS = {
    "case": ("Dogs", "dogs"),
    "space at the end": ("dogs", "dogs "),
    "two spaces": ("big  dogs", "big dogs"),
    "no-break space": ("big dogs", "big\u00a0dogs"),
    "zero width": ("dogs", "dogs\u200b"),
    "wide letters": ("dogs", "\uff44\uff4f\uff47\uff53"),
    "sharp s": ("STRASSE", "straße"),
}


@pytest.mark.parametrize("case", SPELLINGS)
def test_a_class_in_two_spellings_is_refused(tmp_path, case):
    spellings = SPELLINGS[case]
    source = make(tmp_path / "s", "cats/1.jpg", *(f"{name}/1.jpg" for name in spellings))
    found = " and ".join(re.escape(f"{name!r} (a folder)") for name in spellings)
    listing_fails(source, f"classes that differ only in spelling; .* Received: {found}")


def test_a_label_in_two_spellings_is_refused_with_its_lines(source):
    rows = "uri,label\ncats/1.jpg,cats\ndogs/1.jpg,dogs\ncats/2.jpg,Dogs\ncats/2.jpg,Dogs\n"
    match = r"manifest .*'Dogs' \(line 4\) and 'dogs' \(line 3\)"
    listing_fails(source, match, manifest=manifest(source, rows))


def test_names_are_the_same_however_their_accents_are_composed(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    source = make(tmp_path / "s", f"{nfd}/{nfd}.jpg", f"{nfc}/2.jpg", "cats/1.jpg")
    rows = [
        f"uri,label,{nfd}",
        f"{nfd}/{nfc}.jpg,{nfd},{nfd}",
        f"{nfc}/2.jpg,{nfc},{nfc}",
        "cats/1.jpg,cats,x",
    ]
    path = manifest(source, "\n".join(rows))
    for column in (nfc, nfd):
        records = list_images(str(source), manifest=path, slices=[column], positive_class=nfd)
        assert class_names(records) == [nfc, "cats"]
        assert uris(records) == sorted([f"{nfd}/{nfd}.jpg", f"{nfc}/2.jpg", "cats/1.jpg"])
        assert {record.slices for record in records} == {((nfc, nfc),), ((nfc, "x"),)}


def test_links_are_followed_once_and_dangling_links_are_listed(tmp_path):
    source = make(tmp_path / "s", "cats/1.jpg")
    make(tmp_path / "elsewhere", "2.jpg")
    (source / "dogs").symlink_to(tmp_path / "elsewhere")
    (source / "cats" / "round").symlink_to(source / "cats")
    (source / "cats" / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    (source / "cats" / "self.jpg").symlink_to(source / "cats" / "self.jpg")
    records = list_images(str(source), roots=[str(tmp_path)])
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


def test_a_manifest_is_also_searched_for_in_the_source(source):
    manifest(source, CSV)
    assert len(list_images(str(source), manifest="manifest.csv")) == 2


def test_a_manifest_may_lead_to_a_root_besides_the_source(source, tmp_path):
    outside = make(tmp_path / "t", "3.jpg") / "3.jpg"
    path = manifest(source, f"uri,label\ncats/1.jpg,cats\n{outside},dogs\n")
    records = list_images(str(source), manifest=path, roots=[str(tmp_path / "t")])
    assert {record.uri for record in records} == {"cats/1.jpg", str(outside)}


OUTSIDE = {
    "../t/3.jpg": "{tmp}/t/3.jpg",
    "cats/../../t/3.jpg": "{tmp}/t/3.jpg",
    "{tmp}/t/3.jpg": "{tmp}/t/3.jpg",
    "file://{tmp}/t/3.jpg": "{tmp}/t/3.jpg",
    "dogs/link.jpg": "{tmp}/t/3.jpg",
    "dogs/folder/3.jpg": "{tmp}/t/3.jpg",
    "dogs/gone.jpg": "{tmp}/gone.jpg",
    "../s2/1.jpg": "{tmp}/s2/1.jpg",
    "/proc/self/environ": "/proc/.*/environ",
    "s3://other/1.jpg": "s3://other/1.jpg",
}


@pytest.mark.parametrize("uri", OUTSIDE)
def test_a_manifest_that_leads_out_of_the_source_is_refused_before_a_file_is_looked_up(
    source, tmp_path, uri, monkeypatch
):
    make(tmp_path / "t", "3.jpg")
    (source / "dogs/link.jpg").symlink_to(tmp_path / "t/3.jpg")
    (source / "dogs/folder").symlink_to(tmp_path / "t")
    (source / "dogs/gone.jpg").symlink_to(tmp_path / "gone.jpg")
    monkeypatch.setattr(files, "find", lambda *_: pytest.fail("a file was looked up"))
    path = manifest(source, f"uri,label\ncats/1.jpg,cats\n{uri.format(tmp=tmp_path)},dogs\n")
    target = OUTSIDE[uri].format(tmp=tmp_path)
    match = rf"leads out of the source; .*data\.roots: '{target}' is in none of .* \(line 3\)"
    listing_fails(source, match, manifest=path)


def test_a_name_with_a_nul_character_does_not_exist(source):
    path = manifest(source, "uri,label\ncats/1.jpg,cats\ncats\0/1.jpg,dogs\n")
    listing_fails(source, r"do not exist; .* \(line 3\)", manifest=path)


@pytest.mark.parametrize("target", ["t", "t/3.jpg", "gone"])
def test_a_link_out_of_the_source_is_refused(source, tmp_path, target):
    make(tmp_path / "t", "3.jpg")
    (source / "dogs/link").symlink_to(tmp_path / target)
    match = f"data.roots. Received: '{source}/dogs/link', which leads to '{tmp_path}/{target}'"
    listing_fails(source, match)
    assert list_images(str(source), roots=[str(tmp_path)])


def test_a_linked_source_is_its_own_root(source, tmp_path):
    (tmp_path / "linked").symlink_to(source)
    (source / "dogs/2.jpg").symlink_to(source / "cats/2.jpg")
    path = manifest(source, "uri,label\ncats/1.jpg,cats\ndogs/2.jpg,dogs\n")
    linked = str(tmp_path / "linked")
    assert "dogs/2.jpg" in uris(list_images(linked))
    assert uris(list_images(linked, manifest=path)) == ["cats/1.jpg", "dogs/2.jpg"]


def test_the_order_of_a_manifest_is_ignored(source):
    lines = CSV.splitlines()
    shuffled = "\n".join([lines[0], *reversed(lines[1:])])
    first = list_images(str(source), manifest=manifest(source, CSV), slices=["breed"])
    second = list_images(str(source), manifest=manifest(source, shuffled), slices=["breed"])
    assert first == second
    assert data_version(first) == data_version(second)


def test_a_repeated_row_counts_once_and_both_labels_of_one_file_count(source):
    rows = "uri,label\ncats/1.jpg,cats\ncats/1.jpg,cats\ndogs/1.jpg,dogs\ndogs/1.jpg,cats\n"
    records = list_images(str(source), manifest=manifest(source, rows))
    assert [(record.uri, record.class_name) for record in records] == [
        ("cats/1.jpg", "cats"),
        ("dogs/1.jpg", "cats"),
        ("dogs/1.jpg", "dogs"),
    ]


SPELLED = ["./cats/1.jpg", "dogs/../cats/1.jpg", "cats//1.jpg", "{source}/cats/1.jpg"]
SPELLED += ["file://{source}/cats/1.jpg", "file://localhost{source}/c%61ts/1.jpg"]


@pytest.mark.parametrize("uri", ["cats/1.jpg", *SPELLED])
def test_two_rows_for_one_file_may_not_contradict_each_other(source, uri):
    rows = f"uri,label,light\ndogs/1.jpg,dogs,day\ncats/1.jpg,cats,day\n{uri},cats,night\n"
    path = manifest(source, rows.format(source=source))
    match = "two values of 'light' for .* Received: 'day' in line 3 and 'night' in line 4"
    listing_fails(source, match, manifest=path, slices=["light"])
    assert uris(list_images(str(source), manifest=path)) == ["cats/1.jpg", "dogs/1.jpg"]


def test_spaces_around_a_value_are_not_a_contradiction(source):
    rows = "uri,label,light\ndogs/1.jpg,dogs,day\ncats/1.jpg,cats,day\ncats/1.jpg,cats, day\u00a0\n"
    path = manifest(source, rows)
    assert len(list_images(str(source), manifest=path, slices=["light"])) == 2


def test_the_hash_seed_of_python_does_not_change_the_order(source):
    # Two files with the same uri: one name is not Unicode, the other is its escaped form.
    for number in range(6):
        for name in (b"%d\xe9.jpg" % number, b"%d\\xe9.jpg" % number):
            Path(os.fsdecode(os.path.join(os.fsencode(source), b"dogs", name))).write_bytes(DATA)
    code = (
        "from components.image_example_gen.sources import list_images; "
        f"print([ascii(record.path) for record in list_images({str(source)!r})])"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in "123"
    }
    assert len(seen) == 1


def test_data_version_changes_with_what_it_digests(source, tmp_path):
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
    """Changes one byte of a file, but not its size and modification time."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"X")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("verify", "detects_head", "detects_tail"),
    [("size_and_time", False, False), ("heads", True, False), ("content", True, True)],
)
def test_an_image_rewritten_in_place_is_detected_according_to_verify(
    source, verify, detects_head, detects_tail
):
    def version() -> str:
        return data_version(list_images(str(source)), verify=verify)

    image = source / "cats/1.jpg"
    image.write_bytes(bytes(200_000))
    first = version()
    rewritten_in_place(image, 150_000)
    second = version()
    assert (second != first) == detects_tail
    rewritten_in_place(image, 60_000)
    assert (version() != second) == detects_head


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


def test_progress_advances_once_per_image(source):
    records, counted = list_images(str(source)), []
    data_version(records, advance=lambda: counted.append(1))
    assert len(counted) == len(records)


def test_data_version_does_not_change_when_the_source_moves(source, tmp_path):
    before = data_version(list_images(str(source)))
    source.rename(tmp_path / "moved")
    assert data_version(list_images(str(tmp_path / "moved"))) == before


def listing_fails(source, match: str, **arguments) -> None:
    with pytest.raises(SourceError, match=match):
        list_images(str(source), **arguments)


def test_a_source_that_is_not_a_folder_is_refused(tmp_path):
    listing_fails(tmp_path / "none", "does not exist; .* Received: .*none")
    listing_fails(make(tmp_path / "s", "a.zip") / "a.zip", r"must be a folder; .*: the file .*zip")


def test_a_folder_without_images_is_refused(tmp_path):
    listing_fails(make(tmp_path / "empty"), "no images .* is empty")
    (tmp_path / "empty" / "cats").mkdir()
    listing_fails(tmp_path / "empty", "no images .* is empty")


def test_images_without_class_folders_are_refused(tmp_path):
    source = make(tmp_path / "s", "b.jpg", "a.jpg")
    listing_fails(source, r"no class folders; .* 2 files directly in it, such as 'a\.jpg'")


def test_a_single_class_is_refused(tmp_path):
    source = make(tmp_path / "s", "cats/1.jpg")
    (source / "dogs").mkdir()
    listing_fails(source, "at least two classes.* Received: 'cats' only", positive_class="dogs")


@pytest.mark.parametrize("name", ["dog", "Dogs", "dgos"])
def test_the_nearest_class_is_suggested_for_a_positive_class_that_does_not_exist(source, name):
    match = f"one of 'cats', 'dogs'; did you mean 'dogs'.* Received: '{name}'"
    listing_fails(source, match, positive_class=name)


@pytest.mark.parametrize("found", ["Dogs", "dogs ", "dogs\u00a0", "dogs\u200b"])
def test_a_positive_class_in_another_spelling_is_refused_with_both_spellings(tmp_path, found):
    source = make(tmp_path / "s", "cats/1.jpg", f"{found}/1.jpg")
    match = re.escape(f"did you mean {found!r}?")
    listing_fails(source, f"{match} Received: 'dogs'", positive_class="dogs")


def test_no_class_is_suggested_for_a_positive_class_unlike_all_others(source):
    with pytest.raises(SourceError, match="Received: 'zebra'") as error:
        list_images(str(source), positive_class="zebra")
    assert "did you mean" not in str(error.value)


def test_a_class_that_is_not_known_is_refused(source):
    path = manifest(source, CSV.replace("jpg,dogs", "jpg,dgos"))
    match = "so each in .*did you mean 'dogs'.* Received: 'dgos'"
    listing_fails(source, match, manifest=path, known_classes={"cats", "dogs"})


def test_slices_require_a_manifest_that_has_them(source):
    listing_fails(source, "require a manifest", slices=["breed"])
    path = manifest(source, CSV)
    match = "did you mean 'breed'.* Received: 'bred'"
    listing_fails(source, match, manifest=path, slices=["bred"])
    listing_fails(source, "a name that .* Received: 'width'", manifest=path, slices=["width"])
    listing_fails(source, "each column once", manifest=path, slices=["breed", "breed"])


def test_a_slice_column_must_have_a_value_for_some_image(source):
    rows = "uri,label,breed,light\ncats/1.jpg,cats,,day\ndogs/0.jpg,dogs, ,\n"
    path = manifest(source, rows)
    match = "no image .*manifest.csv.* columns with values: 'light'. Received: 'breed'"
    listing_fails(source, match, manifest=path, slices=["light", "breed"])


BAD_MANIFESTS = {
    "no uri": ("file,label\na,cats\n", r"no column 'uri'; .*Received: \['file', 'label'\]"),
    "no label": ("uri,breed\ncats/1.jpg,x\n", r"no column 'label'; .*Received: \['breed', 'uri'\]"),
    "empty label": ("uri,label\ncats/1.jpg,cats\ndogs/1.jpg, \n", "line 3: 'label' is empty"),
    "short row": ("uri,label\ncats/1.jpg\n", "line 2: 'label' is empty"),
    "empty uri": ("uri,label\n,cats\n", "line 2: 'uri' is empty"),
    "long row": (
        "uri,label\ncats/1.jpg,cats,x\n",
        "line 2 must have 2 fields, .*: 3 fields",
    ),
    "twice": ("uri,label,uri\na,b,c\n", r"repeated columns; .*Received: \['uri'\]"),
    "no rows": ("uri,label\n", "has no rows"),
    "empty": ("", "no column 'uri'"),
    "missing": (
        "uri,label\ncats/1.jpg,cats\ndogs/9.jpg,dogs\n",
        r"files that do not exist; .*Received: 'dogs/9\.jpg' \(line 3\)",
    ),
    "a folder": (
        "uri,label\ncats,cats\n",
        r"files that do not exist; .*Received: 'cats' \(line 2\)",
    ),
    "spelling": ("URI,label\na,b\n", "no column 'uri'; .*rename 'URI' to 'uri'"),
    "invisible label": ("uri,label\ncats/1.jpg,\u200b\n", "line 2: 'label' is empty"),
    "twice, composed": ("uri,label,\u00e9,e\u0301\n", "repeated columns"),
    "quotes": ('uri,label\n"cats/1.jpg,cats\n', "line 2"),
}


@pytest.mark.parametrize("case", BAD_MANIFESTS)
def test_an_invalid_csv_manifest_is_refused_with_the_line(source, case):
    text, match = BAD_MANIFESTS[case]
    listing_fails(source, match, manifest=manifest(source, text))


BAD_JSON_LINES = {
    "broken": ('{"uri": "cats/1.jpg", "label": "cats"}\n{"uri": "dogs', "line 2 is not JSON"),
    "array": ('[{"uri": "cats/1.jpg"}]', "line 1 must be a JSON object"),
    "no label": ('{"uri": "cats/1.jpg"}', "line 1, has no column 'label'"),
    "null label": ('{"uri": "cats/1.jpg", "label": null}', "line 1: 'label' is empty"),
    "nested": (
        '{"uri": "cats/1.jpg", "label": {"a": 1}}',
        "line 1: 'label' must .*: {\"a\": 1}",
    ),
    "key twice": ('{"uri": "cats/1.jpg", "label": "a", "label": "b"}', "repeated key.*: 'label'"),
    "key twice, spaces": ('{"uri": "a", "label": "a", "label ": "b"}', "repeated key.*: 'label'"),
    "long number": ('{"uri": ' + "9" * 5000 + "}", "line 1 is not JSON"),
    "deep": ("[" * 100_000, "line 1 is not JSON"),
    "surrogate": ('{"uri": "cats/1.jpg", "label": "\\ud800"}', "line 1: 'label' must be Unicode"),
}


@pytest.mark.parametrize("case", BAD_JSON_LINES)
def test_an_invalid_json_lines_manifest_is_refused_with_the_line(source, case):
    text, match = BAD_JSON_LINES[case]
    listing_fails(source, match, manifest=manifest(source, text, "m.jsonl"))


def test_a_manifest_that_cannot_be_read_is_refused(source):
    listing_fails(source, "does not exist, .* Received: none.csv", manifest="none.csv")
    listing_fails(source, "must end in one of", manifest=manifest(source, CSV, "m.xlsx"))
    (source / "latin.csv").write_bytes("uri,label\ncafé,x\n".encode("latin-1"))
    listing_fails(source, "not UTF-8", manifest="latin.csv")


def test_more_missing_files_than_fit_are_counted(source):
    rows = "".join(f"cats/x{number}.jpg,cats\n" for number in range(5))
    listing_fails(source, "and 2 more", manifest=manifest(source, f"uri,label\n{rows}"))


def test_a_slice_column_in_two_spellings_is_refused(source):
    rows = [
        {"uri": "cats/1.jpg", "label": "cats", "light": "day"},
        {"uri": "dogs/1.jpg", "label": "dogs", "Light": "day"},
    ]
    path = manifest(source, "\n".join(map(json.dumps, rows)), "m.jsonl")
    listing_fails(source, "Received: 'Light', 'light'", manifest=path, slices=["light"])


@pytest.mark.parametrize("column", sorted(names.RESERVED_FEATURES))
def test_a_slice_column_with_a_name_that_a_later_step_uses_is_refused(source, column):
    path = manifest(source, f"uri,label,{column}\n")
    listing_fails(source, f"a name that .* Received: '{column}'", manifest=path, slices=[column])


URIS = {
    "https://example.org/dog.jpg": r"images at https:// can't be read; download them .* \(line 3\)",
    "HTTP://example.org/dog.jpg": "images at http:// can't be read",
    "ftp://example.org/dog.jpg": "images at ftp:// can't be read",
    "nowhere://bucket/dog.jpg": "images at nowhere:// can't be read",
    "file://server/share/dog.jpg": "images at file:// can't be read; write file:///path",
}


@pytest.mark.parametrize("uri", URIS)
def test_a_uri_that_can_t_be_read_is_refused_with_its_line(source, uri):
    path = manifest(source, f"uri,label\ncats/1.jpg,cats\n{uri},dogs\n")
    listing_fails(source, URIS[uri], manifest=path)


def test_a_file_uri_is_a_path(source):
    make(source, "dogs/a b%#?.jpg")
    rows = f"uri,label\ncats/1.jpg,cats\nfile://{source}/dogs/a%20b%25%23%3f.jpg,dogs\n"
    records = list_images(str(source), manifest=manifest(source, rows))
    assert uris(records) == ["cats/1.jpg", "dogs/a b%#?.jpg"]
    assert records[1].path == str(source / "dogs/a b%#?.jpg")


class SilentStore(LocalFileSystem):
    """A Beam file system that never answers."""

    @classmethod
    def scheme(cls):
        return "silent"

    def match(self, patterns, limits=None):
        threading.Event().wait()


def test_a_store_that_does_not_answer_times_out(source, monkeypatch):
    monkeypatch.setattr(beam_io, "CONTACT_SECONDS", 0.1)
    match = "silent://bucket did not answer within 0.1 seconds; check the network"
    listing_fails("silent://bucket/photos", match)
    listing_fails(source, match, manifest="silent://bucket/manifest.csv")
    path = manifest(source, "uri,label\ncats/1.jpg,cats\nsilent://bucket/1.jpg,dogs\n")
    listing_fails(source, match, manifest=path, roots=["silent://bucket"])


def test_an_s3_that_does_not_answer_times_out(monkeypatch):
    monkeypatch.setattr(beam_io, "CONTACT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of it")
        listing_fails("s3://bucket/photos", "s3://bucket did not answer within 1 seconds")


class Bucket(LocalFileSystem):
    """A Beam file system for `bucket://` followed by a path on the local disk."""

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


def test_a_bucket_is_listed_and_read_like_a_folder(source):
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
    listing_fails(f"bucket://{source}", "do not exist; .*: 'dogs/9", manifest="manifest.csv")


def test_a_bucket_that_does_not_exist_is_refused():
    listing_fails("nowhere://bucket/photos", "cannot list")


@pytest.mark.parametrize("path", ["nowhere://bucket/m.csv", "gs://m.csv"])
def test_a_manifest_in_a_bucket_that_does_not_exist_is_refused(source, path, monkeypatch):
    monkeypatch.setattr(beam_io, "CONTACT_SECONDS", 1)
    listing_fails(source, "manifest .* can't be read", manifest=path)


def test_listing_imports_no_large_library():
    large = "{'tensorflow', 'tfx', 'apache_beam', 'numpy', 'PIL', 'pandas'}"
    code = (
        "import sys; import components.image_example_gen.sources; "
        f"sys.exit(', '.join({large} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
