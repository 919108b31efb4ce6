"""Makes a release in dist/: the wheel, the source distribution, what they need (CycloneDX), and checksums of all three.

Refused where the version, CHANGELOG.md and the tag of this commit say different things, or where something isn't
committed. What is built is looked through: everything that git knows of the package is in it, and nothing else.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGE = "sensord"
CONSTRAINTS = ROOT / "scripts" / "constraints.txt"
BESIDE_PACKAGE = {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore"}  # in the sdist
OF_WHEEL = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}  # in its .dist-info
SUMS = "SHA256SUMS"


@click.command(help=__doc__)
@click.option(
    "--dry-run", is_flag=True, help="Build and look, but keep nothing, run no tests; tell what would be refused."
)
def main(dry_run: bool) -> None:
    version = version_of(ROOT)
    if refusals := list(objections(ROOT, version)):
        if not dry_run:
            raise click.ClickException("\n  ".join(["not released:", *refusals]))
        click.echo("\n  ".join(["would be refused:", *refusals]), err=True)
    for script in ("scripts/check",) if dry_run else ("scripts/check", "scripts/test"):
        must_run(script)
    with TemporaryDirectory() as folder:
        made = build(ROOT, Path(folder))
        if wrong := list(wrong_in(made, tracked(ROOT))):
            raise click.ClickException("\n  ".join(["not what was committed:", *wrong]))
        made.append(bill_of_materials(Path(folder) / f"{PACKAGE}-{version}.cdx.json", version))
        made.append(checksums(made))
        for file in made:
            click.echo(f"{file.stat().st_size:>12,}  {file.name}")
            if not dry_run:
                (ROOT / "dist").mkdir(exist_ok=True)
                shutil.copy(file, ROOT / "dist")


def version_of(root: Path) -> str:
    [version] = re.findall(r'^__version__ = "(.*)"$', (root / PACKAGE / "__init__.py").read_text(), re.MULTILINE)
    return str(version)


def objections(root: Path, version: str) -> Iterator[str]:
    """What is in the way of releasing this version from this tree."""
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(
        r"^## \[(.*?)\](?: - (\d{4}-\d\d-\d\d))?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL
    )
    released = [(name, date) for name, date, _ in headings if name != "Unreleased"]
    if not released or released[0][0] != version or not released[0][1]:
        newest = " - ".join(filter(None, released[0])) if released else "nothing"
        yield f"CHANGELOG.md: its newest release is {newest}, the package is {version}: add ## [{version}] - YYYY-MM-DD"
    if any(name == "Unreleased" and text.strip() for name, _, text in headings):
        yield "CHANGELOG.md: there is something under Unreleased: move it under the release's heading"
    tags = git(root, "tag", "--points-at", "HEAD").split()
    if f"v{version}" not in tags:
        yield f"git: this commit has {', '.join(tags) or 'no tag'}, not v{version}: git tag v{version}"
    if changed := git(root, "status", "--porcelain").splitlines():
        yield f"git: {len(changed)} files aren't committed, the first is {changed[0][3:]}"


def tracked(root: Path) -> set[str]:
    """The package's files, as git knows them."""
    return set(git(root, "ls-files", PACKAGE).splitlines())


def git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout


def must_run(*command: str) -> None:
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise click.ClickException(f"{' '.join(command)} failed")


def build(root: Path, folder: Path) -> list[Path]:
    """The source distribution of a tree, and the wheel that is built from it."""
    environ = os.environ | {"PIP_CONSTRAINT": str(CONSTRAINTS), "PIP_BUILD_CONSTRAINT": str(CONSTRAINTS)}
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(root)]
    done = subprocess.run(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise click.ClickException(f"the build failed:\n{done.stdout[-2_000:]}")
    return [*folder.glob("*.tar.gz"), *folder.glob("*.whl")]


def wrong_in(made: Iterable[Path], wanted: set[str]) -> Iterator[str]:
    """What is missing from the distributions, or too much; and what an index would refuse."""
    for file in made:
        found = contents(file)
        also = BESIDE_PACKAGE if file.suffix == ".gz" else {f"{info_of(file)}/{name}" for name in OF_WHEEL}
        for text, names in (("lacks", (wanted | also) - found.keys()), ("has also", found.keys() - wanted - also)):
            yield from (f"{file.name} {text} {name}" for name in sorted(names))
        about = found.get("PKG-INFO") or found.get(f"{info_of(file)}/METADATA")
        if about is None:
            continue
        try:
            Metadata.from_email(about, validate=True)
        except ExceptionGroup as error:
            yield from (f"{file.name}: {each}" for each in error.exceptions)


def contents(file: Path) -> dict[str, bytes]:
    """A distribution's files: path within the tree, and what is in it."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(file) as archive:
        return {
            member.name.partition("/")[2]: opened.read()
            for member in archive.getmembers()
            if (opened := archive.extractfile(member)) is not None
        }


def info_of(wheel: Path) -> str:
    return "-".join(wheel.name.split("-")[:2]) + ".dist-info"


def bill_of_materials(file: Path, version: str) -> Path:
    """All that is installed with the package, with version and licence; nothing else that is in this environment."""
    command = [
        sys.executable,
        "-m",
        "cyclonedx_py",
        "environment",
        "--no-validate",
        "--output-reproducible",
        "--of",
        "JSON",
        sys.executable,
    ]
    bill = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    needed = closure()
    kept = [part for part in bill["components"] if canonicalize_name(part["name"]) in needed]
    for part in kept:
        said = distribution(part["name"]).metadata
        if not part.get("licenses") and "License" in said:
            part["licenses"] = [{"license": {"name": said["License"]}}]  # in words of its own
    refs = {part["bom-ref"] for part in kept}
    bill["components"] = kept
    bill["dependencies"] = [
        {**each, "dependsOn": [ref for ref in each.get("dependsOn", []) if ref in refs]}
        for each in bill["dependencies"]
        if each["ref"] in refs
    ]
    bill["metadata"]["component"] = {
        "type": "application",
        "bom-ref": f"{PACKAGE}-{version}",
        "name": PACKAGE,
        "version": version,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    file.write_text(json.dumps(bill, indent=2) + "\n")
    if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read_text()):
        raise click.ClickException(f"the bill of materials isn't CycloneDX: {wrong}")
    return file


def closure() -> set[str]:
    """Names of all that the package needs, directly or not, without its extras."""
    found: set[tuple[str, str]] = set()
    todo = [(PACKAGE, "")]
    while todo:
        name, extra = todo.pop()
        for text in distribution(name).requires or ():
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                wanted = {(canonicalize_name(need.name), each) for each in ("", *need.extras)}
                todo += wanted - found
                found |= wanted
    return {name for name, _ in found}


def checksums(files: Iterable[Path]) -> Path:
    """As `sha256sum --check` wants them."""
    files = list(files)
    written = files[0].with_name(SUMS)
    written.write_text("".join(f"{sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files))
    return written


if __name__ == "__main__":
    main(prog_name="scripts/release")
