"""The audit is skipped, with a message, if the vulnerability service does not answer."""

import importlib.util
import sys
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location(
    "audit", Path(__file__).parents[2] / "deploy" / "audit.py"
)
audit = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(audit)


@pytest.fixture
def tool(tmp_path):
    """Makes a stand-in for pip-audit that knows vulnerabilities of some packages."""

    def made(*vulnerable: str) -> list[str]:
        script = tmp_path / "pip_audit.py"
        script.write_text(
            "import sys\n"
            "text = open(sys.argv[-1]).read()\n"
            f"found = [name for name in {vulnerable!r} if name in text]\n"
            "print(*found)\n"
            "sys.exit(bool(found))\n",
            encoding="utf-8",
        )
        return [sys.executable, str(script)]

    return made


def test_an_audit_without_a_service_is_skipped_and_says_so(tool, capsys):
    assert audit.audit(tool(), "pillow==9\n") == 0
    assert "audit skipped" in capsys.readouterr().out


def test_a_vulnerability_fails_the_audit_and_is_named(tool, capsys):
    knows = tool("jinja2==2.11.2", "pillow==9")
    assert audit.audit(knows, "pillow==9\n") == 1
    assert "pillow==9" in capsys.readouterr().out
    assert audit.audit(knows, "pillow==12\n") == 0
    assert "skipped" not in capsys.readouterr().out
