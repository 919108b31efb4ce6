"""The simulation's daemons say little, and their pages hold two devices, so that a handful of devices makes several."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from sensord.detection import devices


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "PAGE", 2)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()
