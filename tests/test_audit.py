"""scripts/audit fails on a known vulnerability, and on nothing else: never for want of a network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GOOD = {"name": "click", "version": "8.5.1", "vulns": []}
BAD = {"name": "jinja2", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1"], "aliases": []}]}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}


def verdict(folder: Path, found: str, said: str = "") -> tuple[int, str]:
    for name, text in (("found", found), ("said", said)):
        (folder / name).write_text(text)
    script = ROOT / "scripts" / "audit_verdict.py"
    command = [sys.executable, str(script), str(folder / "found"), str(folder / "said")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([GOOD], 0, "1 packages looked up, 0 vulnerable"),
        ([GOOD, BAD], 1, "jinja2 2.0: PYSEC-1, fixed in 3.1"),
        ([SKIPPED, BAD], 1, "PYSEC-1"),
        ([SKIPPED], 0, "WARNING: none of the packages of 1 could be looked up"),
        ([SKIPPED, GOOD], 0, "WARNING: 1 packages of 2 could be looked up"),
    ],
)
def test_only_a_known_vulnerability_fails(
    tmp_path: Path, packages: list[dict[str, object]], code: int, said: str
) -> None:
    ended, told = verdict(tmp_path, json.dumps({"dependencies": packages, "fixes": []}))
    assert ended == code
    assert said in told


@pytest.mark.parametrize("found", ["", "{", "{}"])
def test_without_an_answer_it_warns_and_goes_on(tmp_path: Path, found: str) -> None:
    ended, told = verdict(tmp_path, found, "ERROR: Tip: your network may be blocking this service\n\n")
    assert ended == 0
    assert "WARNING: nothing was looked up: ERROR: Tip" in told


def test_a_network_that_is_away_makes_nothing_red(tmp_path: Path) -> None:
    """The real command, towards an address that refuses."""
    pinned = tmp_path / "pinned.txt"
    pinned.write_text("click==8.5.1\n")
    away = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9")
    command = ["env", *(f"{name}={value}" for name, value in away.items()), "scripts/audit", str(pinned)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "WARNING" in done.stderr
