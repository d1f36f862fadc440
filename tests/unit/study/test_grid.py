"""The cells of a grid, their scoring jobs, and the files of their results."""

from helpers.studies import BASE, MINIATURE

from polycal.study import grid
from polycal.study.config_loading import merge, resolve


def test_the_cells_are_base_models_and_all_combinations_without_duplicates():
    config = resolve(merge(BASE, {"grid": {"extra": [{"betas": ["0.1", 0.2], "languages": ["yo"]}]}}))
    cells = grid.cells(grid.blocks(config))
    # The base model, β = 0 and β = 0.1 have three languages each; β = 0.2 has one.
    assert len(cells) == 3 * 3 + 1
    assert [c.language for c in cells if c.beta == "0.2"] == ["yo"]
    assert len([c for c in cells if c.data == "none"]) == 3


def test_jobs_have_several_languages_and_every_record_has_its_own_path():
    config = resolve(merge(BASE, {"languages_per_job": 2}))
    assert grid.batches(config) == [("b", 0, ["en", "fr"]), ("b", 1, ["yo"])]
    paths = [str(path) for path in grid.score_records({"grid": grid.blocks(config)})]
    assert len(set(paths)) == len(paths) == 9
    assert paths[0].startswith(
        "results/scores/model=m/base_seed=none/data=d/recipe=r/beta=0/seed=42/benchmark=b/protocol=p/"
    )


def test_only_models_of_the_miniature_have_base_seeds():
    overlay = {
        "grid": {"models": ["m", "mini"], "base_seeds": [0, 1], "data": [], "extra": [{"base_seeds": [2]}]}
    }
    blocks = grid.blocks(resolve(merge(merge(BASE, MINIATURE), overlay)))
    assert grid.base_models(blocks) == [("m", "none"), ("mini", "0"), ("mini", "1"), ("mini", "2")]
    assert {(cell.model, cell.base_seed) for cell in grid.cells(blocks)} == set(grid.base_models(blocks))


def test_without_base_seeds_the_miniature_has_seed_0():
    overlay = {"grid": {"models": ["mini"]}}
    config = resolve(merge(merge(BASE, MINIATURE), overlay))
    assert grid.base_models(grid.blocks(config)) == [("mini", "0")]
    tuned = grid.checkpoints(grid.blocks(config), tuned=True)
    assert [grid.checkpoint(config, **names) for names in tuned] == grid.finetuned(config)
    assert tuned[0] == {
        "model": "mini",
        "base_seed": "0",
        "data": "d",
        "recipe": "r",
        "beta": "0",
        "seed": "42",
    }


def test_a_base_model_is_scored_from_its_manifest_and_several_learning_rates_from_their_selection():
    config = resolve(merge(BASE, {"recipes": {"r": {"learning_rates": [1e-5, 5e-6]}}}))
    base, *_, tuned = grid.checkpoints(grid.blocks(config))[::-1]
    assert grid.checkpoint(config, **base) == "resources/models/m/base_seed=none/manifest.json"
    assert grid.checkpoint(config, **tuned).endswith("/beta=0/seed=42/selected.json")
    assert [path.split("/")[-2] for path in grid.candidates(config, **tuned)] == ["lr=1e-5", "lr=5e-6"]


def test_probes_have_records_only_if_the_study_asks_for_them():
    config = resolve(merge(BASE, {"grid": {"betas": [0.1], "languages": ["en", "yo"]}}))
    cell = {"grid": grid.blocks(config), "embeddings": None, "heldout": []}
    assert grid.embedding_records(cell) == grid.next_token_records(cell) == []
    chosen = {"benchmark": "b", "protocol": "p", "pooling": "last"}
    embedded = [str(path) for path in grid.embedding_records({**cell, "embeddings": chosen})]
    assert [path.split("/")[-2] for path in embedded] == ["language=en", "language=yo"] * 2
    assert len(grid.next_token_records({**cell, "heldout": ["d"]})) == 2
    assert [str(path) for path in grid.conversation_records(cell)] == ["resources/instructions/d.parquet"]
