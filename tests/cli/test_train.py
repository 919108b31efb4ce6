"""`sensord train` refuses at the door what it could not finish."""

from pathlib import Path

import pytest
import torch

from tests.cli.rows import Sensord


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_missed_before_anything_is_read(sensord: Sensord, tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("no history")
    ended = sensord("train", "history.csv", "--fleet", "pumps", environ={"SENSORD_TRAINER__DEVICE": "cuda"})
    assert ended.code == 78
    assert "trainer.device" in ended.err
