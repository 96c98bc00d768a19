"""Listings: CSV, TSV and Parquet files that name images, their classes and their parts."""

from __future__ import annotations

import csv
import shutil
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.data.listing import listing_layout
from hubserve.data.listing_rows import Columns, choose_columns
from hubserve.data.scan import scan
from hubserve.errors import DatasetError
from hubserve.evaluator import load_dataset
from tests.data.made_folders import make


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def files(tmp_path):
    """A folder with 10 images in images/; makes a listing there."""
    make(tmp_path, {"images": 20})

    def write(text, name="list.csv", encoding="utf-8"):
        (tmp_path / name).write_text(text, encoding, newline="")
        return tmp_path / name

    return write


def rows(*, columns="path,label", classes=("cat", "dog"), split=None):
    lines = [columns]
    for number in range(20):
        line = f"images/{number:03d}.png,{classes[number % 2]}"
        lines.append(line if split is None else f"{line},{split(number)}")
    return "\n".join(lines) + "\n"


def test_a_listing_is_divided_like_a_folder(files, tmp_path):
    found = scan(files(rows()))
    assert (found.source, found.classes, found.how) == ("listing", ("cat", "dog"), "drawn")
    assert found.counts == {"train": [8, 8], "val": [1, 1], "test": [1, 1]}
    assert found.images[0].file == "images/000.png"
    assert found.root == tmp_path
    data = load_dataset("listing", tmp_path / "list.csv", size=16)
    assert (data.labels, len(data.train)) == (("cat", "dog"), 16)


def test_parts_of_a_column(files):
    split = ["Train", "train", "train", "valid", "test"]
    found = scan(files(rows(columns="file_name,class,Split", split=lambda n: split[n % 5])))
    assert found.how == "given"
    assert {part: sum(counts) for part, counts in found.counts.items()} == {"train": 12, "val": 4, "test": 4}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_quotes_and_a_byte_order_mark(files, tmp_path, delimiter):
    (tmp_path / "images" / 'with, comma;\tand "quotes".png').write_bytes((tmp_path / "images" / "000.png").read_bytes())
    with (tmp_path / "odd.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(("other", "path", "label"))
        for number in range(20):
            writer.writerow(("", f"images/{number:03d}.png", "größe" if number % 2 else "日本"))
        writer.writerow(("", 'images/with, comma;\tand "quotes".png', "日本"))
    found = scan(tmp_path / "odd.csv")
    assert found.classes == ("größe", "日本")
    assert len(found.images) == 21


def test_parquet(files, tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    names = [f"images/{number:03d}.png" for number in range(20)]
    table = {"path": names, "label": [number % 2 for number in range(20)], "split": ["train"] * 10 + ["val"] * 4 + ["test"] * 6}
    parquet.write_table(pyarrow.table(table), tmp_path / "list.parquet")
    found = scan(tmp_path / "list.parquet")
    assert found.classes == ("0", "1")
    assert {part: sum(counts) for part, counts in found.counts.items()} == {"train": 10, "val": 4, "test": 6}
    parquet.write_table(pyarrow.table({"path": [b"x"], "label": ["a"]}), tmp_path / "bytes.parquet")
    with pytest.raises(DatasetError, match=r"the column path holds a bytes; paths of files are expected"):
        scan(tmp_path / "bytes.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DatasetError, match="is not a readable Parquet file"):
        scan(tmp_path / "broken.parquet")


def test_names_that_other_systems_write(files, tmp_path):
    shutil.move(tmp_path / "images/000.png", tmp_path / "images" / unicodedata.normalize("NFD", "é.png"))
    text = rows().replace("images/000.png", unicodedata.normalize("NFC", "images/é.png")).replace("images/001", "images\\001")
    assert len(scan(files(text)).images) == 20


def test_missing_and_repeated_files_are_counted(files):
    text = rows() + "images/nowhere.png,cat\nimages/000.png,cat\n"
    found = scan(files(text))
    assert [tuple(entry) for entry in found.left_out] == [("images/nowhere.png", "missing", "")]
    assert "1 rows of list.csv repeat an earlier one" in found.notes
    assert len(found.images) == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column|none for the images"),
        ("path,label\n", "names no image"),
        ("images/000.png,cat\nimages/001.png,dog\n", "none for the images; its first line must name one path or file or"),
        ("path,kind\nimages/000.png,cat\n", "none for the labels.*or give label_column"),
        ("path,label\nimages/000.png\n", "line 2: 1 values, and the first line names 2 columns"),
        ("path,label\nimages/000.png,\n", "row 2 has no label"),
        ("path,label\n\nimages/000.png,a\n,\n\nimages/001.png,\n", "row 6 has no label"),
        ("path,label,split\nimages/000.png,a,train\nimages/001.png,b,\n", "1 of 2 rows have no part, the first is row 3"),
        (
            "path,label,split\nimages/000.png,a,trian\n",
            "row 2: the part 'trian' is none of train, val and test. Did you mean train",
        ),
        ("path,label\nimages/000.png,a\nimages/000.png,b\n", "rows 2 and 3 both name images/000.png, once as 'a'"),
        ("path,label\nx.png,a\ny.png,b\n", "2 of 2 files are missing: x.png, y.png; paths are relative to"),
        ("path,label\nhttps://example.org/x.png,a\n", "addresses are not downloaded"),
        ('path,label\nimages/000.png,"two\nlines"\n', "has a line break"),
        ('path,label\n"images/000.png,a\n', "is not a CSV file"),
        ("path,label,class,target,category\n", "names no image"),
        ("path,class,target\nimages/000.png,a,b\n", "the columns 'class', 'target', and one of the labels is expected"),
    ],
)
def test_what_cannot_be_understood(files, text, message):
    with pytest.raises(DatasetError, match=message):
        scan(files(text))


def test_other_encodings_are_refused(files):
    with pytest.raises(DatasetError, match="is not UTF-8"):
        scan(files("path,label\nimages/000.png,größe\n", encoding="latin-1"))


def test_columns_by_name(files):
    text = rows(columns="picture,what")
    with pytest.raises(DatasetError, match=r"no column 'pictur'. Did you mean picture"):
        scan(files(text), columns=Columns(image="pictur", label="what"))
    assert len(scan(files(text), columns=Columns(image="picture", label="what")).images) == 20
    data = load_dataset("listing", files(text), image_column="picture", label_column="what", size=16)
    assert data.labels == ("cat", "dog")


def test_files_outside_of_the_roots_are_refused(files, tmp_path, tmp_path_factory):
    secret = make(tmp_path_factory.mktemp("secret"), {"": 1}) / "000.png"
    (tmp_path / "images/link.png").symlink_to(secret)
    for name in (str(secret), "../" * 20 + "etc/passwd", "../" * 20 + "nosuch", "images/link.png"):
        listing = files(f"path,label\nimages/000.png,a\n{name},b\n")
        with pytest.raises(DatasetError) as refused:
            listing_layout(listing, roots=[tmp_path])
        # The same words whether the file exists or not.
        assert str(refused.value) == "row 3 names a file outside of the folders that this server allows for data"
    assert listing_layout(files(rows()), roots=[tmp_path]).parts


def test_no_other_spelling_leads_out_of_the_roots(tmp_path):
    """Backslashes stand for slashes in a listing from Windows: ..\\x.png was the name of a file here when it was checked."""
    (tmp_path / "data").mkdir()
    outside = tmp_path / "secret.png"
    outside.write_bytes(b"x")
    for name in ("..\\secret.png", "..\\none.png"):
        listing = tmp_path / "data" / "outside.csv"
        listing.write_text(f"path,label\n{name},cat\n{name},cat\n")
        with pytest.raises(DatasetError, match="row 2 names a file outside of the folders"):
            listing_layout(listing, roots=[tmp_path / "data"])


@given(st.lists(st.text(max_size=12), max_size=6), st.none() | st.text(max_size=5))
def test_columns_are_found_or_refused(names, label):
    try:
        image, found, part = choose_columns(names, Columns(label=label), "list.csv")
    except DatasetError:
        return
    assert {image, found} <= set(names)
    assert part is None or part in names


@given(
    st.text(max_size=200) | st.lists(st.sampled_from(["path", "label", ",", "\n", '"', "split", "\0", "é", "a"])).map("".join)
)
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(text, "utf-8", errors="surrogatepass")
    try:
        listing_layout(path)
    except DatasetError:
        return
