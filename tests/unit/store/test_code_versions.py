"""Which edits change the code version of a stage, in a package made for the test and in polycal itself."""

import shutil
from pathlib import Path

import pytest

from polycal.artifacts import computed_once
from polycal.store import code_versions, source_code, stages
from polycal.store.code_versions import VersionError
from polycal.store.manifest_schema import Manifest
from polycal.store.stages import STAGES, Stage


@pytest.fixture(autouse=True)
def fresh(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(computed_once, "FOLDER", tmp_path_factory.mktemp("computed"))
    code_versions.forget()
    yield
    code_versions.forget()


class Package:
    """A package in a folder with one stage, ``score``, whose entry is in the module ``one``."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.monkeypatch = folder, monkeypatch
        monkeypatch.setattr(source_code, "PACKAGE", folder)
        self.lock("torch==1.0\nseaborn==1.0\n")
        self.declare()

    def declare(self, entry="one:run", **settings):
        stage = Stage("score", "Scores", "Score.", entry, Manifest, **{"runtime": ("torch",), **settings})
        self.monkeypatch.setattr(stages, "STAGES", {"score": stage})

    def lock(self, text):
        (self.folder / "lock").write_text(text)
        self.monkeypatch.setattr(code_versions, "LOCK", self.folder / "lock")

    def write(self, **texts):
        for name, text in texts.items():
            path = self.folder / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(exist_ok=True, parents=True)
            for parent in path.parents:
                if parent == self.folder:
                    break
                (parent / "__init__.py").touch()
            path.write_text(text)
        return self

    def version(self):
        code_versions.forget()
        return code_versions.code_version("score")


@pytest.fixture
def package(tmp_path, monkeypatch):
    return Package(tmp_path, monkeypatch)


ONE = {"one": "from polycal import two\n", "two": "import polycal.three\n", "three": "x = 1\n"}


def test_comments_change_no_version_and_code_elsewhere_does_not(package):
    first = package.write(**ONE, four="y = 1\n").version()
    assert package.write(three='"""Doc."""\nx = 1  # why\n').version() == first
    assert package.write(four="y = 2\n").version() == first
    assert package.write(three="x = 2\n").version() != first


def test_a_version_follows_the_locked_versions_of_its_runtime_only(package):
    first = package.write(one="x = 1\n").version()
    package.lock("torch==1.0\nseaborn==2.0\n")
    assert package.version() == first
    package.lock("torch==2.0\nseaborn==2.0\n")
    assert package.version() != first


def test_a_version_of_modules_follows_what_they_import_and_their_libraries(package):
    def version():
        code_versions.forget()
        return code_versions.modules_version(["two"], ["seaborn"])

    package.write(**ONE)
    first = version()
    package.write(one="from polycal import two\nx = 2\n")
    package.lock("torch==2.0\nseaborn==1.0\n")
    assert version() == first
    package.write(three="x = 2\n")
    edited = version()
    package.lock("torch==2.0\nseaborn==2.0\n")
    assert len({first, edited, version()}) == 3


def test_imports_in_packages_and_relative_imports_are_followed(package):
    package.write(
        one="from polycal.a import b\nfrom polycal.a.c import f\n",
        a__b="from . import d\nfrom ..e import g\n",
        a__c="def f(): return 1\n",
        a__d="x = 1\n",
        e="g = 1\n",
    )
    code_versions.forget()
    assert source_code.import_closure(["one"]) == {"one", "a.b", "a.c", "a.d", "e"}
    for name, text in {"a__d": "x = 2\n", "e": "g = 2\n", "a__c": "def f(): return 2\n"}.items():
        before = package.version()
        assert package.write(**{name: text}).version() != before, name


def test_an_import_inside_a_function_counts(package):
    first = package.write(one="def run():\n    from polycal import two\n", two="x = 1\n").version()
    assert package.write(two="x = 2\n").version() != first


def test_a_moved_module_changes_no_version(package):
    text = "def f(): return 1\n"
    first = package.write(one="import json\nfrom polycal.zoo.old import f\nfrom polycal.mid import g\n",
                          zoo__old=text, mid="g = 1\n").version()  # fmt: skip
    (package.folder / "zoo/old.py").unlink()
    package.write(
        one="import json\nfrom polycal.ape.new import f\nfrom polycal.mid import g\n", ape__new=text
    )
    assert package.version() == first


def test_the_same_name_from_another_module_changes_the_version(package):
    package.write(a="def f(): return 1\n", b="def f(): return 2\n", one="from polycal.a import f\n")
    first = package.version()
    assert package.write(one="from polycal.b import f\n").version() != first


def test_two_swapped_imports_of_the_same_names_change_the_version(package):
    package.write(a="f = 1\ng = 2\n", b="f = 3\ng = 4\n")
    first = package.write(one="from polycal.a import f\nfrom polycal.b import g\n").version()
    assert package.write(one="from polycal.b import f\nfrom polycal.a import g\n").version() != first


def test_imports_swapped_between_two_functions_change_the_version(package):
    package.write(a="h = 1\n", b="h = 2\n")
    text = "def f():\n    from polycal.{} import h\n    return h\ndef g():\n    from polycal.{} import h\n    return h\n"
    first = package.write(one=text.format("a", "b")).version()
    assert package.write(one=text.format("b", "a")).version() != first


def test_a_re_export_is_followed_to_the_module_that_defines_the_name(package):
    package.write(a__b="f = 1\n", a__c="g = 1\n", one="from polycal.a import f\n")
    (package.folder / "a/__init__.py").write_text('"""A."""\nfrom polycal.a.b import f\n__all__ = ["f"]\n')
    first = package.version()
    assert package.write(a__c="g = 2\n").version() == first
    assert package.write(a__b="f = 2\n").version() != first


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"one": "from polycal import gone\n"}, "resolves to nothing"),
        ({"one": "from polycal.two import gone\n", "two": "x = 1\n"}, "resolves to nothing"),
        ({"one": "import polycal.gone\n"}, "is no module"),
        ({"one": "from polycal.two import *\n", "two": "x = 1\n"}, "name what is imported"),
        ({"one": "from polycal import two\n", "two": "from polycal import one\n"}, "in a circle: one → two → one"),
        ({}, "no such module"),
    ],
)  # fmt: skip
def test_an_import_that_cannot_be_followed_is_an_error(package, texts, words):
    package.write(**texts)
    with pytest.raises(VersionError, match=words):
        package.version()


def test_code_in_the_init_of_a_package_is_an_error(package):
    package.write(one="from polycal.a import b\n", a__b="x = 1\n")
    package.version()
    (package.folder / "a/__init__.py").write_text("print(1)\n")
    with pytest.raises(VersionError, match="code in the __init__"):
        package.version()


def test_a_missing_pin_lock_or_data_file_is_an_error(package):
    package.write(one="x = 1\n").version()
    package.lock("seaborn==1.0\n")
    with pytest.raises(VersionError, match="has no version of 'torch'"):
        package.version()
    (package.folder / "lock").unlink()
    with pytest.raises(VersionError, match="no such file"):
        package.version()
    package.lock("torch==1.0\n")
    package.declare(data_files=("templates/*",))
    with pytest.raises(VersionError, match=r"no file matches 'templates/\*'"):
        package.version()
    (package.folder / "templates").mkdir()
    (package.folder / "templates/page").write_text("<p>")
    first = package.version()
    (package.folder / "templates/page").write_text("<b>")
    assert package.version() != first


def test_a_new_stage_makes_none_stale(monkeypatch):
    before = {name: code_versions.code_version(name) for name in STAGES}
    extra = Stage("extra", "Extra", "Extra.", "analysis.measure:measure", Manifest)
    monkeypatch.setattr(stages, "STAGES", {**STAGES, "extra": extra})
    code_versions.forget()
    assert {name: code_versions.code_version(name) for name in STAGES} == before


# Module of polycal → stages that an edit of it makes stale. docs/architecture.md contains the same table.

NUMBERS = {"measure", "measure_next_token"}
EDITS: dict[str, set[str]] = {
    "cli/app": set(),
    "audit/staleness": set(),
    "audit/verify": set(),
    "audit/holes": set(),
    "audit/lineage": {"report"},
    "report/tables": {"report"},
    "report/publish": set(),
    "study/config": set(),
    "study/paths": set(),
    "study/cost_estimate": set(),
    "study/finished_jobs": set(),
    "store/stages": set(),
    "store/run": set(),
    "store/failed_results": set(),
    "store/locks": set(),
    "store/attempts": set(),
    "store/cache": {"report"},
    "store/provenance": {"report"},
    "training/batches": {"finetune"},
    "training/resume_state": {"finetune"},
    "training/launcher": {"finetune"},
    "training/lr_selection": {"select_lr"},
    "losses/tiled_loss": {"finetune"},
    "losses/row_pass": {"finetune"},
    "scoring/tree_attention": {"score", "generate", "miniature_model"},
    "scoring/prompts": {"score", "embed", "generate", "miniature_model"},
    "scoring/next_token": {"score_next_token"},
    "scoring/prompt_embeddings": {"embed"},
    "scoring/answer_generation": {"generate"},
    "scoring/entailment": {"cluster"},
    "analysis/contrasts": NUMBERS,
    "analysis/confidence_contrasts": {"measure", "measure_generation"},
    "analysis/usable_records": {*NUMBERS, "measure_embeddings", "measure_groups", "measure_generation"},
    "analysis/group_tables": {"measure_groups"},
    "analysis/record_tables": set(),
    "analysis/temperature_scaling": {"measure"},
    "analysis/chosen_beta": {"measure"},
    "analysis/beta_rule": {"measure", "report"},
    "metrics/diagnostics": NUMBERS,
    "data/answer_texts": {"cluster", "measure_generation"},
    "data/language_id": {"fetch_instructions"},
    "data/benchmarks": {"fetch_benchmark"},
    "data/open_formats": {"fetch_benchmark", "miniature_data"},
    "data/parallel": {"check_parallel"},
    "data/gguf_weights": {"fetch_model"},
    "data/world/facts": {"world_benchmark"},
    "data/chat_templates": {"score", "embed", "score_next_token", "generate", "finetune"},
    "miniature/hub": {"miniature_data"},
    "miniature/pretraining": {"miniature_model"},
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "polycal"
    shutil.copytree(source_code.PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_an_edit_makes_stale_what_depends_on_it_and_nothing_else(copy, monkeypatch):
    monkeypatch.setattr(source_code, "PACKAGE", copy)
    versions = {name: code_versions.code_version(name) for name in STAGES}
    stale = {}
    for module in EDITS:
        path = copy / f"{module}.py"
        text = path.read_text()
        path.write_text(text + "\nEDITED = 1\n")
        # the parsed text of each module stays cached, because it is found by its content
        source_code.sources.cache_clear()
        code_versions._code_of.cache_clear()
        code_versions._state.cache_clear()
        code_versions._DEEP.clear()
        stale[module] = {name for name in STAGES if code_versions.code_version(name) != versions[name]}
        path.write_text(text)
    assert stale == EDITS


def test_no_dependency_is_lost():
    """The code version of a stage covers each module that it imports, directly or through other modules."""
    for name, stage in STAGES.items():
        code_versions.code_version(name)
        closure = source_code.import_closure(stage.modules)
        assert len(closure) > 3
        hashed = set(stage.modules)
        for module in sorted(closure):
            hashed |= {target for _, _, target in source_code.imports(module)}
        assert closure == hashed - source_code.UNHASHED, name
        assert closure <= set(code_versions._DEEP), name


def test_no_stage_that_runs_a_model_imports_the_bookkeeping():
    for name, stage in STAGES.items():
        packages = {module.split(".")[0] for module in source_code.import_closure(stage.modules)}
        if name != "report":
            assert not packages & {"store", "audit", "report", "cli", "study"}, name


def test_every_module_is_in_a_package_and_every_entry_exists():
    names = {path.stem for path in Path(source_code.PACKAGE).glob("*.py")}
    assert names == {"__init__", "errors", "vocabulary", "progress"}
    for stage in STAGES.values():
        for function in (stage.entry, stage.checksums, stage.tables_of_cell, stage.whole):
            assert not function or callable(stages.load(function)), function
        for declared in stage.inputs:
            assert not declared.paths_of_cell or callable(stages.load(declared.paths_of_cell))
