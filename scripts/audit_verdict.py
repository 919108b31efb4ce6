"""What pip-audit found, for scripts/audit: vulnerabilities fail, advisories that can't be had only warn."""

import json
import sys
from pathlib import Path


def main(found: Path, said: Path) -> int:
    """Exit code; found: pip-audit's JSON, empty where it had none; said: its stderr."""
    try:
        packages = json.loads(found.read_text())["dependencies"]
    except (OSError, ValueError, KeyError):
        last = [line for line in said.read_text().splitlines() if line.strip()][-1:] or ["nothing was said"]
        print(f"audit: WARNING: nothing was looked up: {last[0][:200]}", file=sys.stderr)
        return 0
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    bad = [package for package in packages if package.get("vulns")]
    for package in bad:
        for one in package["vulns"]:
            remedy = f"fixed in {', '.join(one['fix_versions'])}" if one["fix_versions"] else "not fixed yet"
            print(f"audit: {package['name']} {package['version']}: {one['id']}, {remedy}", file=sys.stderr)
    if skipped:
        which = "none of the packages" if len(skipped) == len(packages) else f"{len(packages) - len(skipped)} packages"
        example = next(package["skip_reason"] for package in packages if "skip_reason" in package)
        print(f"audit: WARNING: {which} of {len(packages)} could be looked up: {example}", file=sys.stderr)
    else:
        print(f"audit: {len(packages)} packages looked up, {len(bad)} vulnerable", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
