"""Snakemake's linter for a study, without its advice to give every rule a container or conda environment.

All rules run in the environment of the lock file, so one more place that pins versions would only disagree with it.
Usage: ``python workflow/lint.py CONFIGFILE``; exits with 1 if the linter finds anything else.
"""

import json
import subprocess
import sys

ALLOWED = "Specify a conda environment or container for each rule."


def main(configfile: str) -> int:
    """Print what the linter finds in the workflow of a study; the number of findings, at most 1."""
    command = [sys.executable, "-m", "snakemake", "--lint", "json", "--configfile", configfile]
    ran = subprocess.run(command, capture_output=True, text=True)
    start = ran.stdout.find("{")
    if start < 0:
        print(ran.stdout + ran.stderr)
        return 1
    found = json.loads(ran.stdout[start:])
    lints = [(rule["rule"], lint) for rule in found.get("rules", []) for lint in rule["lints"]]
    lints += [(file["snakefile"], lint) for file in found.get("snakefiles", []) for lint in file["lints"]]
    lints = [(where, lint) for where, lint in lints if lint["title"] != ALLOWED]
    for where, lint in lints:
        print(f"{configfile}: {where}: {lint['title']} {lint['body']}")
    return min(len(lints), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
