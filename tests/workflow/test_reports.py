"""Both reports in a real browser without a network, for a study whose texts contain HTML, quotes and right-to-left
script. No file of the study contains the tokens that were in its environment."""

import base64
import importlib.resources
import json
import os
import re
import shutil
import tarfile
import time
import warnings
from pathlib import Path
from urllib.parse import unquote

import jsonschema
import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.hub import Hub
from helpers.world import ROOT, World

from polycal.artifacts import records
from polycal.audit import lineage
from polycal.report.costs import costs

FAKE = "hf_" + "n0t4R3al" * 5
SCRIPT = "</script><script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>"
QUESTION = SCRIPT + " \"{}\" 'quoted' مرحبا?"
LICENCE = SCRIPT + ' "own" ?__import__("os").abort() `x`_ *y* |z|'
LANGUAGE = "ירוא <b>\"Yoruba'"
FOLDER = "que'st \"; $(touch hurt) & ions"
STUDY = "results/studies/tiny"
IDS = "return [...document.querySelectorAll('[id]')].map(e => e.id)"
LINKS = "return [...document.querySelectorAll('a')].map(a => a.getAttribute('href'))"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A finished study with difficult texts, both reports and an archive.

    It was made while tokens were in the environment, in the cache of the hub and in a refused configuration.
    """
    folder = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"):
            patch.setenv(name, FAKE)
        (folder / "cache").mkdir()
        (folder / "cache/token").write_text(FAKE)
        (folder / "cache/stored_tokens").write_text(f"[own]\nhf_token = {FAKE}\n")
        world = World(folder / "whole", Hub()).build()
        shutil.copytree(folder / "cache", world.work.parent / "cache")
        world.ask("yo", QUESTION)
        (world.work / "questions").rename(world.work / FOLDER)
        world.configure(
            {
                "models.own": {"path": "model", "dtype": "float32", "licence": LICENCE},
                "benchmarks.mine.path": FOLDER,
                "languages": {"yo": {"name": LANGUAGE, "script": "Latin", "resource": "low"}},
            }
        )
        world.run()
        made = world.snakemake(
            "--report", f"{STUDY}/workflow.html", "--report-metadata", f"{STUDY}/provenance/landing.yaml"
        )
        assert made.returncode == 0, made.stderr
        made = world.snakemake("--archive", "whole.tar.gz")
        assert made.returncode == 0, made.stderr
        (world.work / "token.yaml").write_text(f"hf_token: {FAKE}\n")
        refused = world.snakemake("--dry-run", overlays=("token.yaml",))
        (world.work / "token.yaml").unlink()
        (world.work / "refused.log").write_text(refused.stdout + refused.stderr)
        assert refused.returncode != 0
        assert "hf_token: looks like a secret" in refused.stdout + refused.stderr
    return world.work


@pytest.fixture(scope="module")
def browser():
    """Chromium without a network. Its console and its requests can be read."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (binary and driver):
        warnings.warn("chromium and chromedriver are not installed: the reports are not opened", stacklevel=1)
        pytest.skip("apt-get install chromium chromium-driver to have the reports opened in a browser")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000"):
        options.add_argument(argument)
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def look(browser, page: Path) -> str:
    """Open a page and return its text. Asserts that its console has no error and that it requests no address."""
    browser.get(page.resolve().as_uri())
    browser.implicitly_wait(20)
    text = browser.find_element("tag name", "body").text
    calm(browser)
    return text


def calm(browser) -> None:
    errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert browser.execute_script("return window.hurt") is None


def test_the_page_opens_offline_and_leads_from_a_number_to_its_source(work, browser):
    behind = look(browser, work / STUDY / "provenance.html")
    # the configuration is shown as JSON, and so is the name of the language in it
    for nasty in (FOLDER, json.dumps(LANGUAGE, ensure_ascii=False)):
        assert " ".join(nasty.split()) in " ".join(behind.split())
    anchors = set(browser.execute_script(IDS))
    dead = {link for link in browser.execute_script(LINKS) if link[0] == "#" and link[1:] not in anchors}
    assert dead == set()
    text = look(browser, work / STUDY / "report.html")
    for nasty in (LICENCE, LANGUAGE):
        assert " ".join(nasty.split()) in " ".join(text.split())
    own = set(browser.execute_script(IDS))
    for link in browser.execute_script(LINKS):
        file, _, anchor = link.partition("#")
        assert (work / STUDY / unquote(file)).exists(), link
        assert not anchor or anchor in (anchors if file == "provenance.html" else own), link
    value = next(a for a in browser.find_elements("css selector", "a.record") if a.text.startswith("0."))
    value.click()
    row = browser.find_element("css selector", "li:target")
    assert "own" in row.text
    row = browser.find_element("css selector", "#row-2")
    assert "talks" in row.text
    row.find_element("link text", "yo").click()
    record = browser.find_element("css selector", "tr:target")
    assert "data=talks" in record.text
    assert "language=yo/scores.parquet" in record.text
    record.find_element("partial link text", "brief").click()
    checkpoint = browser.find_element("css selector", "tr:target")
    assert "results/checkpoints/model=own/base_seed=none/data=talks" in checkpoint.text
    checkpoint.find_element("link text", "talks").click()
    source = browser.find_element("css selector", "tr:target")
    assert "from hub someone/talks at 0123456789abcdef" in source.text
    calm(browser)


def explored(browser, page: Path):
    """Open a page and scroll to its explorer. Returns a function that selects an option of the explorer."""
    browser.get(page.resolve().as_uri())
    browser.execute_script("document.getElementById('explore').scrollIntoView()")
    ready = "return document.documentElement.dataset.explorer == 'ready'"
    deadline = time.monotonic() + 120
    while not browser.execute_script(ready):
        assert time.monotonic() < deadline, "the explorer was not drawn within two minutes"
        time.sleep(0.1)

    def choose(name: str, value: str) -> None:
        option = f"#choose-{name} option[value='{value}']"
        browser.find_element("css selector", option).click()

    return choose


def shown_rows(browser) -> list[dict[str, str]]:
    """The rows of the explorer's table, as column title → text."""
    return browser.execute_script(
        "const titles = [...document.querySelectorAll('#explorer-table thead th')].map(e => e.textContent);"
        "return [...document.querySelectorAll('#explorer-table tbody tr')].map(line => Object.fromEntries("
        "[...line.cells].map((cell, place) => [titles[place], cell.textContent])))"
    )


def interval(row, name: str, sign: str = "") -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def test_the_explorer_shows_the_numbers_of_the_tables_and_opens_a_language(work, browser):
    choose = explored(browser, work / STUDY / "report.html")
    cells = pd.read_parquet(work / STUDY / "cells.parquet")
    contrasts = pd.read_parquet(work / STUDY / "contrasts.parquet")
    names = json.loads((work / STUDY / "provenance/report.json").read_text())["cell"]["languages"]
    rows = {(setting.get("β", "0"), setting["Language"]): setting for setting in shown_rows(browser)}
    tuned = cells[cells.beta == "0"]
    assert len(rows) == len(tuned)
    for cell in tuned.to_dict("records"):
        row = rows["0", f"{names[cell['language']]} ({cell['language']})"]
        assert row["Gap"] == interval(cell, "gap", "+")
        assert (row["Accuracy"], row["ECE"]) == (interval(cell, "accuracy"), interval(cell, "ece"))
        [change] = contrasts[
            (contrasts.reference == "base") & (contrasts.metric == "gap") & (contrasts.beta == "0")
            & (contrasts.language == cell["language"])
        ].to_dict("records")  # fmt: skip
        assert row["Δ from base"].startswith(f"{change['difference']:+.3f} [")
    choose("metric", "ece")
    choose("beta", "any")
    assert len(shown_rows(browser)) == len(cells)
    assert browser.execute_script("return document.querySelectorAll('#explorer-chart svg').length") == 1
    # the keyboard is enough to sort by a column and to open a language
    heading = browser.find_element("css selector", "#explorer-table th[data-dt-column] [role=button]")
    heading.send_keys("\n")
    button = browser.find_elements("css selector", "button.language")[-1]
    code = button.text.rpartition("(")[2][:-1]
    button.send_keys("\n")
    view = browser.find_element("id", "language-view")
    assert view.is_displayed()
    assert browser.switch_to.active_element.get_attribute("id") == "language-heading"
    bins = pd.read_parquet(work / STUDY / "reliability.parquet").query("language == @code")
    texts = browser.execute_script(
        "return [...document.querySelectorAll('#language-bins tbody tr')].map(line => line.cells[2].textContent)"
    )
    assert sorted(map(int, texts)) == sorted(bins.n)
    links = [link.get_attribute("href") for link in view.find_elements("link text", "record")]
    assert len(links) == cells.beta.nunique()
    browser.get(links[0])
    assert f"language={code}/scores.parquet" in browser.find_element("css selector", "tr:target").text
    calm(browser)


def test_the_explorer_shows_another_normalisation(work, browser):
    choose = explored(browser, work / STUDY / "report.html")
    table = pd.read_parquet(work / STUDY / "normalisations.parquet")
    cells = pd.read_parquet(work / STUDY / "cells.parquet")
    choose("beta", "any")
    choose("normalise", "byte")
    rows = shown_rows(browser)
    assert len(rows) == len(cells)
    byte = table[table.normalise == "byte"]
    for metric, title, sign in (("gap", "Gap", "+"), ("accuracy", "Accuracy", ""), ("ece", "ECE", "")):
        assert sorted(row[title] for row in rows) == sorted(f"{value:{sign}.3f}" for value in byte[metric])
    assert not any(title.startswith("Δ") for title in rows[0])
    choose("normalise", "")
    assert all("[" in row["Gap"] for row in shown_rows(browser))
    calm(browser)


def test_the_page_inside_another_one_has_no_link_that_leads_nowhere(work, browser, tmp_path):
    """Snakemake's report shows the page like this."""
    page = (work / STUDY / "report.html").read_text()
    # Chromium shows no address of more than 2 MB, and the explorer loads its libraries only when it is in view
    small = re.sub(
        r'(<script id="library-\w+" type="text/plain">).*?(</script>)', r"\1\2", page, flags=re.DOTALL
    )
    assert len(small) < 1_000_000 < len(page)
    text = base64.b64encode(small.encode()).decode()
    host = tmp_path / "host.html"
    host.write_text(f'<iframe src="data:text/html;charset=utf-8;base64,{text}"></iframe>')
    browser.get(host.as_uri())
    browser.switch_to.frame(browser.find_element("tag name", "iframe"))
    try:
        assert "links to its records" in browser.find_element("id", "inside").text.lower()
        links = browser.execute_script(LINKS)
        assert links
        assert [link for link in links if not link.startswith("#")] == []
        beside = "return document.querySelectorAll('img:not([src^=\"data:\"])').length"
        assert browser.execute_script(beside) == 0
    finally:
        browser.switch_to.default_content()
    calm(browser)


def test_rows_of_tables_are_cards_on_a_phone(work, browser):
    size = {"width": 390, "height": 1000, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        look(browser, work / STUDY / "report.html")
        right = browser.execute_script(
            "return [...document.querySelectorAll('table.cards td')].filter(one => one.textContent)"
            ".map(one => [one.dataset.title, one.getBoundingClientRect().right])"
        )
        assert {"ECE", "Model"} <= {title for title, _ in right}
        assert max(edge for _, edge in right) <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("width", [1300, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_keeps_the_rules_of_accessibility(work, browser, width, scheme):
    axe = importlib.resources.files("selenium_axe_python") / "axe-core/axe.min.js"
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        explored(browser, work / STUDY / "report.html")
        browser.find_elements("css selector", "button.language")[0].click()
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        browser.execute_script(axe.read_text())
        browser.set_script_timeout(120)
        found = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
        assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]] == []
        assert len(found["passes"]) > 10
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    calm(browser)


def test_snakemakes_report_opens_offline_and_shows_text_as_text(work, browser):
    text = look(browser, work / STUDY / "workflow.html")
    assert "Commit of this report: " in text
    assert "Accepted changes: none" in text
    assert json.dumps(LICENCE, ensure_ascii=False) in text
    browser.find_element("xpath", "//*[text()='What did tuning and smoothing change?']").click()
    assert "the study on one page" in browser.find_element("tag name", "body").text
    # the second of a result's two buttons opens its caption
    browser.find_elements("css selector", "td a")[1].click()
    caption = browser.find_element("xpath", "//*[contains(text(), 'provenance/report.json')]")
    assert caption.is_displayed()
    rules = browser.execute_script("return rules")
    assert any("manifest.json" in name for name in rules["finetune"]["output"])
    calm(browser)


def test_nothing_that_a_study_leaves_holds_a_planted_secret(work):
    assert not list(work.rglob("hurt"))
    found = []
    for path in (p for top in (work, work.parent / "code") for p in top.rglob("*") if p.is_file()):
        whole = path.read_bytes()
        if path.suffix == ".parquet":
            whole += json.dumps(pq.ParquetFile(path).read().to_pylist(), default=str).encode()
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path) as archive:
                whole = b"".join(archive.extractfile(one).read() for one in archive if one.isfile())
        if FAKE.encode() in whole:
            found.append(path)
    assert found == []
    assert (work.parent / "cache/token").read_text() == FAKE


def test_every_product_has_a_manifest_that_keeps_to_the_published_schema(work):
    schema = json.loads((ROOT / "workflow/schemas/manifest.schema.json").read_text())
    nodes = lineage.results_behind(work / STUDY)
    notes = [dict(node.artifact.manifest) for node in nodes]
    notes.append(json.loads((work / STUDY / "provenance/report.json").read_text()))
    for note in notes:
        jsonschema.validate(note, schema)
    assert {note["stage"] for note in notes} == {
        "fetch_model", "fetch_instructions", "fetch_benchmark", "finetune", "score", "measure", "report",
    }  # fmt: skip
    shown = notes[-1]["files"]
    assert {"report.html", "tables/table1.md", "provenance/sources.json"} <= set(shown)
    assert any(name.endswith(".svg") for name in shown)
    total = next(cost for cost in costs(nodes) if cost["stage"] == "all")
    assert total["gpu"] == 0
    assert total["cpu"] > 0
    spent = sum(note["cost"]["wall_seconds"] for note in notes[:-1] if note.get("table", "cells") == "cells")
    assert total["wall"] == pytest.approx(spent / 3600)


def test_a_copied_results_folder_tells_the_whole_chain_and_notices_an_edit(work, tmp_path):
    copy = tmp_path / "copied"
    shutil.copytree(work / "results", copy, ignore=shutil.ignore_patterns(".cache", ".events"))
    world = World(tmp_path / "none", Hub())
    world.work.mkdir(parents=True)
    world.code = work.parent / "code"
    table = copy / "studies/tiny/tables/table1.md"
    ran = world.polycal("provenance", str(table))
    assert ran.returncode == 0, ran.stderr
    assert "from hub someone/talks at 0123456789abcdef" in ran.stdout
    assert "manifest only" in ran.stdout
    as_json = json.loads(world.polycal("provenance", "--json", str(table)).stdout)
    assert all(step["problems"] == [] for step in as_json["steps"])
    record = next(copy.glob("scores/**/language=yo/scores.parquet"))
    said = pq.read_schema(record).metadata
    rows = pq.ParquetFile(record).read().to_pylist()
    rows[0]["gold"] = (rows[0]["gold"] + 1) % 3
    os.chmod(record, 0o644)
    records.write(record, rows, records.SCORE)
    pq.write_table(pq.ParquetFile(record).read().replace_schema_metadata(said), record)
    ran = world.polycal("provenance", str(table))
    assert ran.returncode == 1
    assert "the chain breaks at copied/scores/" in ran.stderr
    assert "its content is not what was written" in ran.stderr


def test_a_partial_grid_reports_what_is_there_and_lists_what_is_missing(work, tmp_path):
    shutil.copytree(work.parent / "code", tmp_path / "code")
    shutil.copytree(work, tmp_path / "work")
    world = World(tmp_path, Hub())
    gone = next((tmp_path / "work/results/scores").glob("**/beta=0/**/language=yo/scores.parquet"))
    gone.unlink()
    ran = world.snakemake("partial")
    assert ran.returncode == 0, ran.stderr
    page = (tmp_path / "work/results/studies/tiny-partial/report.html").read_text()
    holes = page[page.index('id="holes"') :]
    holes = holes[: holes.index("</section>")]
    assert "<b>own, talks, β = 0</b>, mine, letters-0shot: <b>yo</b>" in holes
    assert "its record is missing" in holes
    assert holes.count("<li>") == 1
    made = world.snakemake("partial", "--report", "partial.html")
    assert made.returncode == 0, made.stderr
