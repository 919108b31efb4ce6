"""What a pyproject.toml says that its project needs, a line each. Used by the Dockerfile, which installs it first."""

import sys
import tomllib
from pathlib import Path

if __name__ == "__main__":
    project = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
    print(*project["dependencies"], sep="\n")
