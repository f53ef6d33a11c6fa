import pytest

from scene_model.errors import UserError
from scene_model.tracking import LinkingConfig


@pytest.mark.parametrize(
    "options",
    [
        {"overlap": -1},
        {"max_age": -1},
        {"keep_threshold": 0.0},
        {"birth_threshold": 1.5},
        {"birth_threshold": 0.3, "keep_threshold": 0.4},
        {"duplicate_iou": float("nan")},
        {"min_iou": -0.1},
        {"min_affinity": 2.0},
        {"min_shared_affinity": -0.1},
        {"min_agreement": 1.1},
        {"max_distance": float("inf")},
        {"class_weight": -1.0},
        {"exchange_margin": -0.1},
        {"exchange_margin": float("nan")},
        {"position_weight": 0.0, "embedding_weight": 0.0, "class_weight": 0.0},
    ],
)
def test_errors_name_the_key(options):
    key, value = next(iter(options.items()))
    with pytest.raises(UserError, match=rf"^model\.tracking\.{key}: expected .*, got {value}$"):
        LinkingConfig(**options)
