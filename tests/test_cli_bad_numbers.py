"""Training in mixed precision, and what users see where numbers go wrong: a sentence, exit code 3, a file to replay."""

import re

import pytest
import torch
from test_cli_processes import ROOT, finish, start
from torch import nn

from main import main
from scene_model import SceneModelLightningModule
from scene_model.replay import main as replay


@pytest.fixture
def fails(small, in_tmp, capsys):
    """Runs a training that must stop, and returns the sentence."""

    def run(*args):
        with pytest.raises(SystemExit) as exit_:
            main(["fit", *small, *args])
        assert exit_.value.code == 3
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert err.splitlines()[-1].startswith("error: ")
        return err.splitlines()[-1]

    return run


def plant(monkeypatch, value):
    """A weight with which the forward pass overflows in its second step."""

    def overflow(self, batch, batch_idx):
        if batch_idx == 1:
            nn.init.constant_(self.model.decoder.layers[0].feedforward[0].weight, value)

    monkeypatch.setattr(SceneModelLightningModule, "on_train_batch_start", overflow)


def test_a_bad_loss_is_a_sentence_and_a_file_whose_replay_names_the_module(fails, in_tmp, monkeypatch, capsys):
    plant(monkeypatch, 1e38)
    sentence = fails("--checkpoint.every_n_train_steps", "1")
    assert re.match(
        r"error: step 2: the loss is NaN or infinite in train/exist, .*for train_\d+ \(frames [\d, ]+\)", sentence
    )
    command = sentence.rpartition("python -m scene_model.replay ")[2]
    assert command == "runs/version_0/bad_step_2.pt"
    last = torch.load("runs/version_0/checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == 1
    assert all(tensor.isfinite().all() for tensor in last["state_dict"].values())
    assert replay([command]) == 0
    assert "model.debug: decoder.layers.0.feedforward" in capsys.readouterr().out


@pytest.mark.slow
def test_debug_names_the_module_at_once(fails, in_tmp, monkeypatch):
    plant(monkeypatch, 1e38)
    sentence = fails("--model.debug", "true")
    assert "model.debug: decoder.layers.0.feedforward" in sentence
    assert sentence.endswith("runs/version_0/bad_step_2.pt")
    assert (in_tmp / "runs/version_0/bad_step_2.pt").is_file()


@pytest.mark.slow
def test_the_guard_can_be_told_to_leave_gradients_alone(small, in_tmp):
    cli = main(["fit", *small, "--guard.gradients", "false", "--trainer.fast_dev_run", "true"])
    assert cli.trainer.global_step == 1


def test_a_step_in_bfloat16(small, in_tmp, logged):
    cli = main(["fit", *small, "--trainer.precision", "bf16-mixed", "--trainer.limit_train_batches", "1"])
    assert cli.trainer.gradient_clip_val == 1.0, "which Lightning refuses for fused optimisers"
    (total,) = [row["train/total"] for row in logged(in_tmp / "runs/version_0") if "train/total" in row]
    assert 0 < total < 1000
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in cli.model.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="float16 with loss scaling needs a GPU")
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "32-true"])
def test_a_step_on_a_gpu(precision, small, in_tmp):
    cli = main(["fit", *small, "--trainer.accelerator", "gpu", "--trainer.precision", precision])
    assert cli.trainer.global_step == 2
    assert all(p.isfinite().all() for p in cli.model.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="what is read late is read late on a GPU only")
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "32-true"])
def test_a_bad_loss_on_a_gpu(precision, fails, in_tmp, monkeypatch):
    plant(monkeypatch, 1e38)
    assert "step 2: the loss is NaN or infinite" in fails(
        "--trainer.accelerator", "gpu", "--trainer.precision", precision
    )


@pytest.mark.slow
def test_processes_that_train_together_stop_together(small, tmp_path):
    two = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    epoch = ["--data.clips_per_epoch", "8"]
    script = f"{ROOT}/tests/bad_number_on_rank_1.py"
    code, _, err = finish(start(script, "fit", *small, *two, *epoch, cwd=tmp_path))
    (sentence,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 3
    assert sentence.startswith("error: step 2: the loss is NaN or infinite in train/giou, for train_")
    files = list((tmp_path / "runs/version_0").glob("bad_step_*"))
    assert [file.name for file in files] == ["bad_step_2_rank1.pt"]
    assert sentence.endswith("bad_step_2_rank1.pt")
