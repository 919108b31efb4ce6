"""A release holds all that was committed, and works where nothing else of the project is; what disagrees is refused."""

import json
import os
import shutil
import site
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import release
from sensord import __version__

ROOT = Path(__file__).parents[2]
SAYS_NO_LICENCE = {"cuda-toolkit"}  # it holds nothing, but names others


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """The source distribution and the wheel."""
    return release.build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A committed tree of which version, changelog and tag agree."""
    root = tmp_path / "tree"
    (root / "sensord").mkdir(parents=True)
    (root / "sensord" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (root / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-11-29\n\n- All.\n")
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    for words in (["init"], ["add", "."], ["commit", "-m", "All"], ["tag", "v1.2.3"]):
        release.git(root, *identity, *words)
    return root


def test_what_agrees_is_released(tree: Path) -> None:
    assert release.version_of(tree) == "1.2.3"
    assert list(release.objections(tree, "1.2.3")) == []


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("[1.2.3]", "[1.2.2]", "its newest release is 1.2.2 - 2026-11-29, the package is 1.2.3"),
        (" - 2026-11-29", "", "add ## [1.2.3] - YYYY-MM-DD"),
        ("[Unreleased]\n", "[Unreleased]\n\n- Something.\n", "there is something under Unreleased"),
    ],
)
def test_a_changelog_that_says_something_else_is_refused(tree: Path, before: str, after: str, said: str) -> None:
    changelog = tree / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace(before, after))
    assert said in "\n".join(release.objections(tree, "1.2.3"))


def test_another_tag_or_none_is_refused(tree: Path) -> None:
    release.git(tree, "tag", "-d", "v1.2.3")
    assert list(release.objections(tree, "1.2.3")) == ["git: this commit has no tag, not v1.2.3: git tag v1.2.3"]
    release.git(tree, "tag", "v1.2.4")
    assert list(release.objections(tree, "1.2.3")) == ["git: this commit has v1.2.4, not v1.2.3: git tag v1.2.3"]


def test_what_is_not_committed_is_refused(tree: Path) -> None:
    (tree / "new.py").touch()
    assert list(release.objections(tree, "1.2.3")) == ["git: 1 files aren't committed, the first is new.py"]


def test_nothing_is_done_for_what_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "new.py").touch()
    monkeypatch.setattr(release, "ROOT", tree)
    monkeypatch.setattr(release, "must_run", lambda *command: pytest.fail("it went on"))
    done = CliRunner().invoke(release.main)
    assert done.exit_code == 1
    assert "not released:" in done.output
    assert "the first is new.py" in done.output


@pytest.fixture
def asked(tree: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Scripts that a release of that tree, of which nothing is really built, has asked for."""
    scripts: list[str] = []
    monkeypatch.setattr(release, "ROOT", tree)
    monkeypatch.setattr(release, "must_run", lambda *command: scripts.extend(command))
    monkeypatch.setattr(release, "build", lambda root, folder: [made_up(folder / "made-up.whl")])
    monkeypatch.setattr(release, "wrong_in", lambda made, wanted: ())
    monkeypatch.setattr(release, "bill_of_materials", lambda file, version: made_up(file))
    return scripts


def test_a_release_is_tested_and_kept(tree: Path, asked: list[str]) -> None:
    done = CliRunner().invoke(release.main)
    assert done.exit_code == 0, done.output
    assert asked == ["scripts/check", "scripts/test"]
    kept = {file.name for file in (tree / "dist").iterdir()}
    assert kept == {"made-up.whl", "sensord-1.2.3.cdx.json", "SHA256SUMS"}


def test_a_dry_run_keeps_nothing_and_tells_what_would_be_refused(tree: Path, asked: list[str]) -> None:
    (tree / "new.py").touch()
    done = CliRunner().invoke(release.main, ["--dry-run"])
    assert done.exit_code == 0, done.output
    assert "would be refused:" in done.output
    assert "SHA256SUMS" in done.output
    assert (asked, (tree / "dist").exists()) == (["scripts/check"], False)


def made_up(file: Path) -> Path:
    file.write_bytes(b"wheel")
    return file


def test_what_is_built_is_what_was_committed(made: Sequence[Path]) -> None:
    assert [file.suffix for file in made] == [".gz", ".whl"]
    assert list(release.wrong_in(made, release.tracked(ROOT))) == []


def test_what_is_missing_or_too_much_would_be_noticed(made: Sequence[Path]) -> None:
    some = "sensord/cli/report/page.css"
    others = release.tracked(ROOT) - {some} | {"sensord/lost.sql"}
    found = "\n".join(release.wrong_in(made, others))
    for file in made:
        assert f"{file.name} lacks sensord/lost.sql" in found
        assert f"{file.name} has also {some}" in found


def test_the_wheel_of_a_tree_and_of_its_source_distribution_are_the_same(made: Sequence[Path], tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in (*release.tracked(ROOT), *(release.BESIDE_PACKAGE - {"PKG-INFO"})):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(tree)]
    environ = os.environ | {"PIP_CONSTRAINT": str(release.CONSTRAINTS)}
    subprocess.run(command, env=environ, check=True, capture_output=True)
    [direct] = tmp_path.glob("*.whl")
    assert release.contents(direct) == release.contents(made[1])


def test_the_wheel_works_where_nothing_else_is(made: Sequence[Path], tmp_path: Path) -> None:
    """In an environment of its own, which borrows what sensord needs; torch again would take minutes."""
    home, work = tmp_path / "venv", tmp_path / "work"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    python, work_db = home / "bin" / "python", work / "sensord.db"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(made[1])]
    subprocess.run(install, check=True)
    [packages] = home.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(f"{site.getsitepackages()[0]}\n")
    work.mkdir()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SENSORD_", "PYTHON"))}

    def sensord(*words: str) -> str:
        done = subprocess.run(
            [home / "bin" / "sensord", *words], cwd=work, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert __version__ in sensord("version")
    assert "train" in sensord("--help")
    sensord("db", "upgrade")
    assert work_db.exists()
    sensord("db", "check")
    where = [str(python), "-c", "import sensord; print(sensord.__file__)"]
    assert subprocess.run(where, cwd=work, env=environ, capture_output=True, text=True, check=True).stdout.startswith(
        str(packages)
    ), "it was the wheel's"


def test_the_bill_of_materials_names_all_that_is_needed_and_no_more(tmp_path: Path) -> None:
    bill = json.loads(release.bill_of_materials(tmp_path / "bill.json", __version__).read_text())
    parts = {canonicalize_name(part["name"]): part for part in bill["components"]}
    needs = [Requirement(text) for text in requires("sensord") or ()]
    direct = {canonicalize_name(need.name) for need in needs if need.marker is None}
    assert direct <= parts.keys()
    assert {"mako", "llvmlite"} <= parts.keys(), "what is needed by what is needed"
    assert not {"pytest", "optuna", "pip", "sensord"} & parts.keys()
    assert [name for name, part in parts.items() if part["version"] != version(name)] == []
    assert {name for name, part in parts.items() if not part.get("licenses")} <= SAYS_NO_LICENCE
    assert bill["metadata"]["component"]["version"] == __version__


def test_the_checksums_are_those_of_the_files(made: Sequence[Path]) -> None:
    sums = release.checksums(made)
    subprocess.run(["sha256sum", "--check", "--strict", sums.name], cwd=sums.parent, check=True, capture_output=True)
    assert sha256(made[0].read_bytes()).hexdigest() in sums.read_text()
    sums.unlink()
