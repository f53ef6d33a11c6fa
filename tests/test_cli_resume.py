"""A run that was killed goes on to the same weights and losses, to the bit, as one that never was."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from main import main
from scene_model.cli.command_line import CheckpointCLI

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


def assert_same_run(folder, other):
    assert_same(final(folder), final(other))
    assert (folder / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()


def cut_off(run, cut, monkeypatch):
    """Begins a run that a callback ends."""
    built = CheckpointCLI._instantiate_trainer
    with monkeypatch.context() as patched:
        patched.setattr(
            CheckpointCLI, "_instantiate_trainer", lambda self, config, own: built(self, config, [*own, cut])
        )
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            main(run)


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
    cut_off(run, PowerCut(step, hook), monkeypatch)
    main(run)
    assert [path.name for path in (in_tmp / "runs").iterdir()] == ["version_0"]
    assert_same_run(in_tmp / "runs/version_0", whole)


@pytest.mark.slow
def test_a_run_that_is_limited_by_steps_goes_on_from_the_end_of_an_epoch(small, in_tmp, monkeypatch):
    run = ["fit", *small, *RUN, "--checkpoint.every_n_train_steps", "null", "--trainer.max_steps", "15"]
    main([*run, "--trainer.default_root_dir", "whole"])
    cut_off(run, PowerCut(7, "on_train_batch_start"), monkeypatch)
    main(run)
    assert_same_run(in_tmp / "runs/version_0", in_tmp / "whole/version_0")


@pytest.mark.slow
def test_runs_that_were_killed_end_like_one_that_was_not(small):
    """At a random moment, in a validation, while a checkpoint is written, and before it is put in its place."""
    flags = [*small, *RUN, *AUGMENTED, "--trainer.max_epochs", "2"]
    command = [sys.executable, "-m", "benchmarks.kill_resume", "--kills", "1", "--aimed", "3", "--", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 4 ended the same" in done.stdout
