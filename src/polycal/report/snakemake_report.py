"""The landing page of Snakemake's report: commits, code versions, acceptances, cost, configuration."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from polycal.artifacts import files
from polycal.audit import lineage
from polycal.audit.lineage import LineageNode
from polycal.report.costs import costs


def write_landing_page(
    path: Path, run: Mapping[str, Any], nodes: Sequence[LineageNode], settings: Mapping[str, Any]
) -> None:
    """Write the YAML file for ``snakemake --report-metadata``.

    ``run`` is the run record of the report, ``nodes`` are the results behind it, and ``settings`` is its
    configuration.
    """
    # Snakemake shows neither keys nor lists, so one value contains all facts, one per line
    lines = [
        f"{key}: {fact if isinstance(fact, str) else '; '.join(fact)}"
        for key, fact in _facts(run, nodes, settings).items()
    ]
    text = {"Provenance": r" \<br\> ".join(map(escaped, lines))}
    files.write_text(path, yaml.safe_dump(text, allow_unicode=True, sort_keys=False))


def _facts(
    run: Mapping[str, Any], nodes: Sequence[LineageNode], settings: Mapping[str, Any]
) -> dict[str, str | list[str]]:
    manifests = [node.artifact.manifest for node in nodes]
    commits = {(made["commit"] or "none") + (" (changed)" if made["dirty"] else "") for made in manifests}
    accepted = {files.canonical_json(entry): entry for made in manifests for entry in made["acceptances"]}
    accepted |= {files.canonical_json(entry): entry for entry in lineage.acceptances_behind(nodes)}
    total = next((cost for cost in costs(nodes) if cost["stage"] == "all"), None)
    configuration = {key: value for key, value in settings.items() if key != "languages"}
    uncommitted = " (with uncommitted changes)" if run["dirty"] else ""
    return {
        "Commit of this report": f"{run['commit'] or 'none'}{uncommitted}",
        "Commits of its results": sorted(commits),
        "Code versions": sorted({f"{made['stage']} {made['code_version']}" for made in manifests}),
        "Accepted changes": [
            f"{entry['stage']}: {entry['new']} counts as {entry['old']}, because {entry['because']}"
            f" ({entry['author']})"
            for entry in accepted.values()
        ]
        or ["none"],
        "Cost": f"{total['gpu']:.2f} GPU-hours, {total['cpu']:.2f} CPU-hours" if total else "unknown",
        "Configuration": json.dumps(configuration, sort_keys=True, ensure_ascii=False),
        "Lock file": str(run["lock"]),
        "Python": str(run["python"]),
    }


def escaped(text: str) -> str:
    """The text escaped so that Snakemake's landing page shows it unchanged.

    Snakemake reads a value as a YTE template, in which a leading question mark starts code, and then as
    reStructuredText. It puts the result as HTML into a script without escaping.
    """
    return re.sub(r"([^\w\s])", r"\\\1", html.escape(" ".join(text.split()), quote=False))
