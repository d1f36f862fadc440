"""The fixtures of the hub are those that their builder writes."""

import importlib.util
from pathlib import Path

import pyarrow.parquet as pq


def test_fixtures_are_what_their_builder_writes(tmp_path: Path) -> None:
    home = Path(__file__).parents[2] / "fixtures/hub"
    spec = importlib.util.spec_from_file_location("build_hub_fixtures", home / "build.py")
    assert spec
    assert spec.loader
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    build.build(tmp_path)
    built = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    stored = sorted(p.relative_to(home) for p in home.glob("*/**/*") if p.is_file() and p.suffix != ".pyc")
    assert built == stored
    for name in built:
        if name.suffix == ".parquet":
            assert pq.read_table(tmp_path / name).equals(pq.read_table(home / name)), name
        else:
            assert (tmp_path / name).read_text() == (home / name).read_text(), name
