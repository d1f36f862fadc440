"""A file that was altered without a change of its size is not read as if it were whole."""

import random

import pyarrow.parquet as pq
import pytest

from polycal.artifacts import checkpoints, files, records
from polycal.artifacts.checkpoints import CheckpointError
from polycal.artifacts.records import RecordError
from polycal.report import study_tables


@pytest.fixture
def scores(tmp_path):
    path = tmp_path / "scores.parquet"
    rng = random.Random(0)
    rows = [
        {
            "question_id": f"q{number}",
            "group": "g",
            "gold": 0,
            "option_logprob": [rng.gauss(0, 3) for _ in range(4)],
            "option_tokens": [1] * 4,
            "option_bytes": [1] * 4,
            "prompt_sha256": f"{rng.getrandbits(256):064x}",
        }
        for number in range(500)
    ]
    records.write(path, rows, records.SCORE, {"stage": "score"})
    return path


def test_no_flipped_bit_in_the_rows_of_a_record_is_read(scores):
    whole, data = records.read_scores(scores), scores.read_bytes()
    rows_end = len(data) - pq.ParquetFile(scores).metadata.serialized_size - 8
    rng, refused = random.Random(1), 0
    for _ in range(200):
        altered, place = bytearray(data), rng.randrange(4, rows_end)
        altered[place] ^= 1 << rng.randrange(8)
        scores.write_bytes(altered)
        try:
            # bits of a page's own header may be without meaning
            assert records.read_scores(scores).equals(whole), place
        except RecordError:
            refused += 1
    assert refused > 180


def test_a_record_whose_page_is_altered_is_named(scores):
    data = bytearray(scores.read_bytes())
    data[5000] ^= 1
    scores.write_bytes(data)
    with pytest.raises(RecordError, match=r"scores\.parquet: altered since it was written") as caught:
        records.read_scores(scores)
    assert "\n" not in str(caught.value)


def test_a_name_of_a_column_that_is_no_text_is_refused(scores):
    data = scores.read_bytes()
    scores.write_bytes(data.replace(b"question_id", b"quest\xefon_id"))
    with pytest.raises(RecordError):
        records.read_scores(scores)


def test_a_measured_table_with_an_altered_page_is_refused(scores):
    data = bytearray(scores.read_bytes())
    data[5000] ^= 1
    scores.with_name("cells.parquet").write_bytes(data)
    scores.unlink()
    with pytest.raises(RecordError, match=r"cells\.parquet: altered since it was written"):
        study_tables.read(scores.parent, {})


@pytest.fixture
def manifest(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"w" * 10_000)
    files.write_json(tmp_path / "manifest.json", {"folder": "weights", **checkpoints.describe(folder)})
    return tmp_path / "manifest.json"


def test_weights_with_a_zeroed_page_are_found_though_their_size_is_right(manifest):
    checkpoints.check(manifest)
    selected = manifest.with_name("selected.json")
    files.write_json(selected, {"manifest": "manifest.json"})
    checkpoints.check(selected)
    weights = manifest.with_name("weights") / "model.safetensors"
    weights.write_bytes(b"w" * 2000 + bytes(4096) + b"w" * 3904)
    assert checkpoints.read(manifest).folder == weights.parent
    for path in (manifest, selected):
        with pytest.raises(
            CheckpointError, match=r"model\.safetensors: altered since .*manifest\.json was written"
        ):
            checkpoints.check(path)
    # the checksums of a folder are computed whenever it is read
    checkpoints.check(weights.parent)
