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


def test_a_program_without_lightning_is_warned():
    code = "from scene_model.rank_zero import rank_zero_warn_once as warn; warn('look'); warn('look')"
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr.count("UserWarning: look") == 1


def test_the_network_and_its_losses_need_no_lightning():
    code = (
        "from scene_model import DinoDenoiser, HeadAdapter, build_scene_model; import sys; "
        "sys.exit(any(name.split('.')[0] == 'lightning' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
