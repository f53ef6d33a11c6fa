import subprocess
import sys

import scene_model


def test_every_public_name_is_there():
    assert all(getattr(scene_model, name) is not None for name in scene_model.__all__)
    assert set(scene_model.__all__) == set(scene_model._HOMES)


def test_scoring_text_files_needs_no_torch():
    code = "import scene_model.metrics.__main__, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
