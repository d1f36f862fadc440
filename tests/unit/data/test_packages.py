"""Files of packages: downloaded, checked and read, but never installed, built or run."""

import errno
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import packages as made
from helpers.packages import Index
from helpers.stamps import FixedStamp

from polycal.artifacts import records
from polycal.data import archives, benchmarks, instructions, packages, sources
from polycal.data.archives import ArchiveError
from polycal.data.hub import SourceError, UnreachableError
from polycal.errors import TransientError

ROW = b'[{"instruction": "Say yes", "input": "", "output": "yes"}, {"instruction": "Say no", "input": "", "output": "no"}]'


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of archives in which pip looks, without a network."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def index(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """The archives on the shelf, behind an index."""
    index = Index(shelf)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", index.address)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "20")
    yield index
    index.server.shutdown()


def source(*archives: Path, file: list[str], version: str = "1.0.0") -> dict[str, object]:
    names = [f"{path.name.split('-')[0]}=={version}" for path in archives]
    return {
        "packages": names,
        "sha256": [made.sha256(path) for path in archives],
        "file": file,
        "licence": "X",
    }


def test_parts_of_wheels_are_joined_in_their_order(shelf: Path, tmp_path: Path) -> None:
    first = made.wheel(shelf, "one", {"one/data/x.bin.part00": b"ab"})
    second = made.wheel(shelf, "two", {"two/data/x.bin.part01": b"cd", "two/other": b"-"})
    parts = ["one/data/x.bin.part00", "two/data/x.bin.part01"]
    path = packages.write_file(source(first, second, file=parts), tmp_path / "out")
    assert (path.name, path.read_bytes()) == ("x.bin", b"abcd")
    path = packages.write_file(source(first, second, file=parts[::-1]), tmp_path / "out")
    assert path.read_bytes() == b"cdab"


def test_a_source_distribution_is_read_and_never_built(shelf: Path) -> None:
    archive = made.sdist(shelf, "own", {"data/rows.json": ROW})
    path = packages.data_file(source(archive, file=["own-1.0.0/data/rows.json"]))
    assert path.read_bytes() == ROW
    assert not (shelf / made.MARKER).exists()


def test_the_archive_with_the_checksum_is_taken_and_kept(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.wheel(shelf, "own", {"own/x.json": b"wheel"})
    archive = made.sdist(shelf, "own", {"x.json": b"sdist"})
    wanted = source(archive, file=["own-1.0.0/x.json"])
    assert packages.data_file(wanted).read_bytes() == b"sdist"
    archive.unlink()
    assert packages.data_file(wanted).read_bytes() == b"sdist"
    [kept] = packages.download("own==1.0.0", str(wanted["sha256"][0])).parent.iterdir()  # type: ignore[index]
    kept.write_bytes(b"altered")
    with pytest.raises(SourceError, match=r"own==1\.0\.0: no archive has the sha256"):
        packages.data_file(wanted)


def test_an_index_is_asked_for_the_right_archive_only(shelf: Path, index: Index) -> None:
    made.wheel(shelf, "own", {"own/x.json": b"wheel"})
    archive = made.sdist(shelf, "own", {"x.json": b"sdist"})
    packages.data_file(source(archive, file=["own-1.0.0/x.json"]))
    assert [path for path in index.asked if path.startswith("/files/")] == [f"/files/{archive.name}"]
    packages.data_file(source(archive, file=["own-1.0.0/x.json"]))
    assert len(index.asked) == 2
    assert not (shelf / made.MARKER).exists()


def refused(wanted: dict[str, object], tmp_path: Path) -> str:
    """The message with which a source is refused. No file is left."""
    with pytest.raises(SourceError) as error:
        packages.data_file(wanted)
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert all(path.name.endswith((".whl", ".tar.gz")) for path in left)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_checksum_is_refused_with_those_of_the_index(
    shelf: Path, index: Index, tmp_path: Path
) -> None:
    archive = made.wheel(shelf, "own", {"own/x.json": b"1"})
    wanted = {**source(archive, file=["own/x.json"]), "sha256": ["0" * 64]}
    assert refused(wanted, tmp_path) == (
        f"own==1.0.0: no archive has the sha256 {'0' * 64} ({archive.name} with {made.sha256(archive)}); correct the"
        " checksum, or do not use this package if it was right before."
    )
    assert not any(path.startswith("/files/") for path in index.asked)


def test_a_release_that_is_gone_is_refused_with_those_that_exist(
    shelf: Path, index: Index, tmp_path: Path
) -> None:
    archive = made.wheel(shelf, "own", {"own/x.json": b"1"}, version="1.1.0")
    wanted = source(archive, file=["own/x.json"])
    assert "own==1.0.0: the package index has no such release (it has 1.1.0)" in refused(wanted, tmp_path)
    wanted = {**wanted, "packages": ["other==1.0.0"]}
    assert "no such release (nor any other of this package)" in refused(wanted, tmp_path)


def test_no_network_is_said_and_may_be_tried_again(
    shelf: Path, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = source(made.wheel(shelf, "own", {"own/x.json": b"1"}), file=["own/x.json"])
    index.status = 502
    index.status = 502
    assert "the package index cannot be reached (the index answered 502)" in refused(wanted, tmp_path)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert "own==1.0.0: the package index cannot be reached (" in refused(wanted, tmp_path)
    assert issubclass(UnreachableError, TransientError)


def test_a_download_that_breaks_off_leaves_nothing(shelf: Path, index: Index, tmp_path: Path) -> None:
    archive = made.wheel(shelf, "own", {"own/x.json": b"1"})
    wanted = source(archive, file=["own/x.json"])
    index.cuts[archive.name] = 100
    message = refused(wanted, tmp_path)
    assert (
        f"own==1.0.0: the download ended after 100 of {archive.stat().st_size} bytes; start again" in message
    )
    index.cuts.clear()
    assert packages.data_file(wanted).read_bytes() == b"1"


def test_a_full_disk_is_said_and_leaves_nothing(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = source(made.wheel(shelf, "own", {"own/x.json": b"1"}), file=["own/x.json"])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(archives, "copy", full)
        assert "x.json: the disk is full; free some space and start again" in refused(wanted, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(packages, "_with_pip", lambda *_: {"disk_full": True})
        assert "is full; free some space and start again" in refused(
            {**wanted, "sha256": ["1" * 64]}, tmp_path
        )


def test_a_file_that_is_not_in_the_packages_is_refused_with_a_similar_one(
    shelf: Path, tmp_path: Path
) -> None:
    first = made.wheel(shelf, "one", {"one/data/rows.json": b"1", "both": b"1"})
    second = made.wheel(shelf, "two", {"both": b"1"})
    wanted = source(first, second, file=["one/rows.json"])
    assert refused(wanted, tmp_path) == (
        "one==1.0.0 two==1.0.0: contains no file 'one/rows.json'; is 'one/data/rows.json' meant?"
    )
    message = refused(source(first, second, file=["both"]), tmp_path)
    assert message.startswith(f"both: {first.name} and {second.name} contain it")
    assert "it contains one/data/rows.json, both" in refused(source(first, file=["zzzz.zz"]), tmp_path)


def test_links_folders_and_broken_archives_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    tar = tmp_path / "own-1.tar.gz"
    with tarfile.open(tar, "w:gz") as archive:
        for name, kind in (("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("pipe", tarfile.FIFOTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, str(secret)
            archive.addfile(entry)
        entry = tarfile.TarInfo("folder")
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("twice"))
    zipped = tmp_path / "own-1.whl"
    with zipfile.ZipFile(zipped, "w") as archive:
        link = zipfile.ZipInfo("soft")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(secret))
        archive.writestr("folder/", b"")
    assert archives.members(tar) == ["twice", "twice"]
    assert archives.members(zipped) == []
    for path, member in [(tar, name) for name in ("soft", "hard", "pipe", "folder")] + [
        (zipped, "soft"),
        (zipped, "folder"),
    ]:
        with pytest.raises(ArchiveError, match="is a link or a folder"):
            archives.copy(path, member, io.BytesIO())
    with pytest.raises(ArchiveError, match="contains 2 files 'twice'; there must be one"):
        archives.copy(tar, "twice", io.BytesIO())
    for path in (tar, zipped):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ArchiveError, match="the archive is broken"):
            archives.members(path)
    (tmp_path / "x.rar").touch()
    with pytest.raises(ArchiveError, match="not a wheel or source distribution"):
        archives.members(tmp_path / "x.rar")


def test_instructions_and_questions_come_from_packages(shelf: Path, tmp_path: Path) -> None:
    archive = made.sdist(shelf, "rows", {"data/rows.json": ROW})
    settings = {"format": "alpaca", "language": "en", "heldout": "0", "seed": "0"}
    cell = {"data": "d", "source": source(archive, file=["rows-1.0.0/data/rows.json"]), "settings": settings}
    out = tmp_path / "conversations.parquet"
    instructions.fetch_instructions(cell, out=out, stamp=FixedStamp())
    metadata = records.metadata(out)
    assert metadata["conversations"] == 2
    assert metadata["source"]["licence"] == "X"
    assert list(metadata["files"]) == ["rows.json"]
    assert sources.input_checksums(cell) == {}

    question = {"question_id": "1", "question": "6 × 7?", "options": ["36", "42"], "gold": 1}
    files = {f"q/{code}.jsonl": json.dumps({**question, "question": code}).encode() for code in ("en", "fr")}
    archive = made.wheel(shelf, "questions", files)
    for code in ("en", "fr"):
        out = tmp_path / f"{code}.parquet"
        wanted = source(archive, file=["q/{language}.jsonl"])
        cell = {"language": code, "source": wanted, "settings": {"format": "file"}}
        benchmarks.fetch_benchmark(cell, out=out, stamp=FixedStamp())
        assert [row["question"] for row in records.read_questions(out)] == [code]


def test_parts_without_a_number_are_files_of_one_data_set(shelf: Path, tmp_path: Path) -> None:
    more = ROW.replace(b"Say", b"Shout")
    archive = made.sdist(shelf, "rows", {"data/en.json": ROW, "data/zh.json": more, "more/en.json": more})
    settings = {"format": "alpaca", "language": "en", "heldout": "0", "seed": "0"}
    wanted = source(archive, file=["rows-1.0.0/data/en.json", "rows-1.0.0/data/zh.json"])
    out = tmp_path / "conversations.parquet"
    cell = {"data": "d", "source": wanted, "settings": settings}
    instructions.fetch_instructions(cell, out=out, stamp=FixedStamp())
    asked = {row["messages"][0]["content"] for row in records.read_conversations(out).to_pylist()}
    assert asked == {"Say yes", "Say no", "Shout yes", "Shout no"}
    assert list(records.metadata(out)["files"]) == ["en.json", "zh.json"]

    twice = source(archive, file=["rows-1.0.0/data/en.json", "rows-1.0.0/more/en.json"])
    with pytest.raises(
        SourceError, match=r"^file: 2 parts have the name 'en.json'; name files with different"
    ):
        packages.data_file(twice)
