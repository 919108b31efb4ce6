"""Has everything compiled that the daemon and the trainer run, beside the installed package. Used by the Dockerfile.

It trains on a few simulated messages, and makes ready as a daemon does before it reads.
"""

import os
import sys
import tempfile
from pathlib import Path

from sensord.cli.main import run
from sensord.detection.fleet import make_ready
from sensord.errors import EXIT_OK
from sensord.model.bundle import Packed, unpack

ENOUGH = ["--devices", "2", "--readings", "700", "--healthy", "700", "--faults", "0"]


def main() -> None:
    os.environ["SENSORD_TRAINER__STEPS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        messages, bundle = f"{folder}/messages.jsonl", f"{folder}/bundle"
        simulate = ["simulate", *ENOUGH, "--out", messages]
        train = ["train", messages, "--fleet", "any", "--out", bundle]
        for command in (simulate, train):
            code = run(command)
            if code != EXIT_OK:
                sys.exit(code)
        make_ready(unpack(Packed.read(Path(bundle))))


if __name__ == "__main__":
    main()
