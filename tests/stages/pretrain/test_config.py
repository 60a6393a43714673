import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from stages.pretrain.config import PretrainConfig


def test_defaults_are_those_of_unipt() -> None:
    config = PretrainConfig()
    assert (config.learning_rate, config.epochs, config.warmup_share, config.batch_size) == (1e-5, 15, 0.1, 512)
    assert (config.betas, config.weight_decay, config.decay) == ((0.9, 0.98), 0.01, "linear")
    assert (config.mlm.probability, config.mlm.weight) == (0.15, 1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 10, "workers": 3},
        {"mlm": {"probability": 1.5}},
        {"augment": {"crop_scale_min": 0}},
        {"temperature": {"initial": 0}},
        {"epoch": 3},
        {"equal_texts": "ignored"},
        {"lock_image": True},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PretrainConfig(**wrong)


def test_speed_alone_leaves_the_identity_as_it_is() -> None:
    assert PretrainConfig(threads=8, device="cuda", keep_checkpoints=9).identity() == PretrainConfig().identity()
    assert PretrainConfig(workers=2).identity() != PretrainConfig().identity()


def test_reading_a_recipe_loads_no_torch() -> None:
    code = "import sys, stages.pretrain.config; assert not {'torch', 'cv2', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
