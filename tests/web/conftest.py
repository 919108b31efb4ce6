from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from sensord.web.app import build
from tests.web.site import TOKEN, Stage, staged


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as one:
        yield one


@pytest.fixture
def stranger(stage: Stage) -> Iterator[TestClient]:
    """Somebody without the token; no redirect is followed."""
    with TestClient(build(stage.site), follow_redirects=False) as client:
        yield client


@pytest.fixture
def ann(stranger: TestClient) -> TestClient:
    """Logged in."""
    assert stranger.post("/login", data={"name": "ann", "token": TOKEN}).status_code == 303
    return stranger
