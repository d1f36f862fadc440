"""Snakemake's linter for a study, without its advice to give every rule a conda environment or container.

All rules run in the environment of the lock file. A second place that pins versions could only disagree with it.
Usage: ``python workflow/lint.py CONFIGFILE``; exits with 1 if the linter finds anything else.
"""

import re
import subprocess
import sys

ALLOWED = "Specify a conda environment or container for each rule."


def main(configfile: str) -> int:
    """Print what the linter finds in the workflow of a study; 1 if there is a finding, else 0."""
    command = [sys.executable, "-m", "snakemake", "--lint", "--configfile", configfile]
    ran = subprocess.run(command, capture_output=True, text=True)
    text = ran.stdout + ran.stderr
    sections = re.split(r"^(?=Lints for )", text, flags=re.MULTILINE)
    if len(sections) == 1:
        # no findings, or a workflow that cannot be read
        print(text if ran.returncode else f"{configfile}: nothing found")
        return ran.returncode
    findings = []
    for section in sections[1:]:
        where, _, body = section.partition("\n")
        lints = re.split(r"^    \* ", body, flags=re.MULTILINE)[1:]
        findings += [
            f"{configfile}: {where}\n    {lint.strip()}" for lint in lints if not lint.startswith(ALLOWED)
        ]
    print("\n".join(findings) or f"{configfile}: nothing found")
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
