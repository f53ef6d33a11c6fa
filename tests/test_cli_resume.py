"""A run that was killed goes on to the same weights and losses, to the bit, as one that never was."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from main import main

ROOT = Path(__file__).parents[1]
RUN = [
    *("--data.clips_per_epoch", "12"),
    *("--trainer.max_epochs", "3"),
    *("--checkpoint.every_n_train_steps", "2"),
    *("--ckpt_path", "last"),
]
AUGMENTED = ["--data.augmentation", '{"flip": 0.5, "reverse": 0.5, "scale": [0.8, 1.2], "brightness": 0.3}']


class PowerCut(Callback):
    """Ends a training as abruptly as a process can end itself without dying."""

    def __init__(self, step, hook):
        self.step = step
        setattr(self, hook, self.cut)

    def cut(self, trainer, *args, **kwargs):
        if trainer.global_step == self.step and trainer.training | trainer.validating:
            raise KeyboardInterrupt


def final(folder):
    """Weights, their average, moments and progress at the end of a run."""
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    keys = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "global_step", "epoch")
    return {key: checkpoint[key] for key in keys}


def assert_same(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for item, same in zip(one, other, strict=True):
            assert_same(item, same)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """A run that nothing happens to."""
    root = tmp_path_factory.mktemp("whole")
    main(["fit", *small, *RUN, *AUGMENTED, "--trainer.default_root_dir", str(root)])
    return root / "version_0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "hook"),
    [
        # in the middle of the first epoch, one step after a checkpoint
        (3, "on_train_batch_start"),
        # in the second epoch, while a checkpoint might be written
        (8, "on_train_batch_end"),
        (9, "on_train_batch_start"),
        # in the validation after the second epoch
        (12, "on_validation_batch_start"),
        (12, "on_train_epoch_start"),
    ],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_was_cut_off_ends_like_one_that_was_not(small, whole, in_tmp, monkeypatch, step, hook, workers):
    run = ["fit", *small, *RUN, *AUGMENTED, "--data.num_workers", str(workers)]
    with monkeypatch.context() as patched:
        import scene_model.cli.command_line as command_line

        built = command_line.CheckpointCLI._instantiate_trainer
        cut = PowerCut(step, hook)
        patched.setattr(
            command_line.CheckpointCLI,
            "_instantiate_trainer",
            lambda self, config, own: built(self, config, [*own, cut]),
        )
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            main(run)
    main(run)
    folder = in_tmp / "runs/version_0"
    assert [path.name for path in (in_tmp / "runs").iterdir()] == ["version_0"]
    assert_same(final(folder), final(whole))
    assert (folder / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


@pytest.mark.slow
def test_runs_that_were_killed_end_like_one_that_was_not(small):
    """At a random moment, in a validation, while a checkpoint is written, and before it is put in its place."""
    flags = [*small, *RUN, *AUGMENTED, "--trainer.max_epochs", "2"]
    command = [sys.executable, "-m", "benchmarks.kill_resume", "--kills", "1", "--aimed", "3", "--", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 4 ended the same" in done.stdout
