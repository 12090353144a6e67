"""Looks up known vulnerabilities of all locked packages with pip-audit.

    python deploy/audit.py

If the vulnerability service does not answer, the audit is skipped with a message. To check that it
answers, a release that is known to be vulnerable is looked up first: a mirror of the package index
may list no vulnerabilities at all. Imports the standard library only.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
# PYSEC-2021-66: denial of service through the filter urlize.
VULNERABLE = "jinja2==2.11.2"


def main() -> int:
    """Returns 0 if nothing was found or the audit was skipped, else pip-audit's exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--uv", default="uv", help="the program uv")
    uv = parser.parse_args().uv
    tool = [uv, "run", "--quiet", "--frozen", "--isolated", "--only-group", "audit", "pip-audit"]
    locked = _run([uv, "export", "--quiet", "--frozen", "--all-groups", "--all-extras", *_PLAIN])
    if locked.returncode:
        raise SystemExit(f"uv can't export the lock file. Received: {locked.stderr.strip()}")
    return audit(tool, locked.stdout)


def audit(tool: Sequence[str], requirements: str) -> int:
    """Audits requirements.

    Args:
      tool: the command that runs pip-audit.
      requirements: lines such as `jinja2==3.1.6`.

    Returns:
      The exit code: 0 if no vulnerability is known or the audit was skipped.
    """
    known = _audited(tool, VULNERABLE)
    if VULNERABLE.partition("==")[0] not in known.stdout or not known.returncode:
        said = (known.stderr.strip().splitlines() or ["no vulnerability"])[-1]
        print(
            "audit skipped: the vulnerability service does not answer. Received for "
            f"{VULNERABLE}, which is known to be vulnerable: {said}"
        )
        return 0
    found = _audited(tool, requirements)
    print(found.stdout + found.stderr, end="")
    return found.returncode


_PLAIN = ("--no-emit-project", "--no-hashes", "--no-annotate", "--no-header")


def _audited(tool: Sequence[str], requirements: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "requirements.txt")
        path.write_text(requirements, encoding="utf-8")
        return _run([*tool, "--progress-spinner", "off", "--no-deps", "--disable-pip", "-r", path])


def _run(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
