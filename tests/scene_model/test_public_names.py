import subprocess
import sys

import pytest

import scene_model
import scene_model.metrics


def test_every_public_name_is_there():
    assert all(getattr(scene_model, name) is not None for name in scene_model.__all__)
    assert set(scene_model.__all__) == set(scene_model._HOMES)


def test_every_public_name_of_the_metrics_is_there():
    assert all(getattr(scene_model.metrics, name) is not None for name in scene_model.metrics.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = scene_model.metrics.nothing


def test_scoring_text_files_needs_no_torch():
    code = "import scene_model.metrics.__main__, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
