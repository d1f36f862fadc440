"""Code is edited after a job has started: a record never names code that did not make it."""

import json
import sys
import threading
import time

import pytest

import polycal
from polycal.store import acceptances, code_versions, locks, run, source_code, stages
from polycal.store.code_versions import VersionError
from polycal.store.manifest_schema import Manifest
from polycal.store.stages import Stage

ENTRY = "import json\nfrom polycal import two\ndef run(cell, *, out, stamp): out.write_text(json.dumps(two.MADE_BY))\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with one stage, whose modules are imported when the stage runs for the first time."""
    folder = tmp_path / "package"
    folder.mkdir()
    for name, text in {"__init__": "", "one": ENTRY, "two": "MADE_BY = 'first'\n"}.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(polycal, "__path__", [str(folder), *polycal.__path__])
    monkeypatch.setattr(source_code, "PACKAGE", folder)
    monkeypatch.setattr(
        stages, "STAGES", {"extra": Stage("extra", "", "", "one:run", Manifest, output="out")}
    )
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.02)
    code_versions.forget()
    yield folder
    for name in ("one", "two"):
        sys.modules.pop(f"polycal.{name}", None)
        vars(polycal).pop(name, None)
    code_versions.forget()


@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize("edit", ["MADE_BY = 'second'\n", "MADE_BY = (\n", None])
def test_code_that_is_edited_while_a_job_waits_for_its_lock(tmp_path, package, capsys, planned, edit):
    version = acceptances.accepted_version("extra")[0]
    out, ended = tmp_path / "out", []
    job = run.Job(stages.STAGES["extra"], [{}], {}, [out], code=version if planned else None)

    def work():
        try:
            run.run(job)
        except BaseException as error:
            ended.append(error)

    waiting = threading.Thread(target=work)
    said = ""
    with locks.acquire("first", out):
        waiting.start()
        # the job reads its code version before it waits
        while "waiting for it" not in said:
            said += capsys.readouterr().out
            time.sleep(0.01)
        if edit:
            (package / "two.py").write_text(edit)
    waiting.join(60)
    if edit is None:
        assert ended == []
        assert json.loads(out.read_text()) == "first"
    else:
        [error] = ended
        assert isinstance(error, VersionError), error
        assert str(error).startswith(f"extra: the code was edited after this job began, at version {version}")
        assert not out.exists()


class Rewrites:
    """An import finder that writes the file of a module again, with the same content, while it is imported."""

    def __init__(self, path):
        self.path = path

    def find_spec(self, name, *_):
        if name == f"polycal.{self.path.stem}":
            time.sleep(0.02)
            self.path.write_bytes(self.path.read_bytes())


def test_a_file_that_is_written_while_it_is_imported_is_refused_whatever_it_holds(package):
    finder = Rewrites(package / "two.py")
    sys.meta_path.insert(0, finder)
    try:
        with pytest.raises(VersionError, match="the code was edited"):
            code_versions.check_loaded("extra")
        # the module is imported, and its file was not written since
        code_versions.check_loaded("extra")
    finally:
        sys.meta_path.remove(finder)
