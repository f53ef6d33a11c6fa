import pytest
from lightning.pytorch import Trainer


@pytest.fixture
def make_trainer(tmp_path):
    """Makes quiet CPU trainers that write to `tmp_path`, without logger and checkpoints unless told."""

    def make(*callbacks, **kwargs):
        options = {
            "max_epochs": 2,
            "accelerator": "cpu",
            "default_root_dir": tmp_path,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
        }
        return Trainer(callbacks=list(callbacks), **(options | kwargs))

    return make
