"""Runs Snakemake's linter on a study, without its advice to give every rule a conda environment or container.

All rules run in the environment of the lock file. A second list of versions could contradict it.
Usage: ``python workflow/lint.py CONFIGFILE``. The exit status is 1 if the linter has any other advice.
"""

import re
import subprocess
import sys

IGNORED_ADVICE = "Specify a conda environment or container for each rule."


def main(configfile: str) -> int:
    """Print the linter's findings in the workflow of a study. Returns 1 if there are any, else 0."""
    command = [sys.executable, "-m", "snakemake", "--lint", "--configfile", configfile]
    linter = subprocess.run(command, capture_output=True, text=True)
    text = linter.stdout + linter.stderr
    sections = re.split(r"^(?=Lints for )", text, flags=re.MULTILINE)
    if len(sections) == 1:
        # There are no findings, or the workflow cannot be read.
        print(text if linter.returncode else f"{configfile}: nothing found")
        return linter.returncode
    findings = []
    for section in sections[1:]:
        where, _, body = section.partition("\n")
        lints = re.split(r"^    \* ", body, flags=re.MULTILINE)[1:]
        findings += [
            f"{configfile}: {where}\n    {lint.strip()}"
            for lint in lints
            if not lint.startswith(IGNORED_ADVICE)
        ]
    print("\n".join(findings) or f"{configfile}: nothing found")
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
