"""Has what is compiled compiled, before tests begin whose time is limited. Run by `scripts/test`."""

from sensord.detection.fleet import make_ready
from sensord.model.bundle import unpack
from tests.builders import packed

if __name__ == "__main__":
    make_ready(unpack(packed()))
