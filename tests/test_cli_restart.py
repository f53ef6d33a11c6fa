"""Going on with a run: what is damaged, in use or complete is said; the logs are those of a run that never stopped."""

import csv
import os
import shutil
import subprocess
import sys

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only

from main import main
from scene_model.cli import resumption
from scene_model.cli.checkpoint import read_checkpoint
from scene_model.cli.run_lock import lock_run
from scene_model.errors import UserError

LAST, PREVIOUS = "runs/version_0/checkpoints/last.ckpt", "runs/version_0/checkpoints/previous.ckpt"


@pytest.fixture
def run(trained, in_tmp):
    """A copy of a finished run of two epochs in the current folder."""
    shutil.copytree(trained, in_tmp / "runs/version_0")
    return in_tmp / "runs/version_0"


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path, position=None):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if position is None else position] ^= 0x10
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def write_text(path):
    path.write_text("not a checkpoint\n")


@pytest.mark.parametrize("command", ["fit", "validate"])
@pytest.mark.parametrize("damage", [truncate, flip, empty, write_text])
def test_a_damaged_last_is_said_and_the_one_before_is_named(run, rejected, command, damage):
    damage(run / "checkpoints/last.ckpt")
    sentence = rejected(command, "--ckpt_path", "last")
    assert sentence.startswith(f"--ckpt_path: {LAST} is damaged or no checkpoint (")
    assert f"the checkpoint before it is {PREVIOUS} (step 2), to go on from there: cp {PREVIOUS} {LAST}" in sentence


def test_one_before_that_is_damaged_too_is_not_named(run, rejected):
    flip(run / "checkpoints/last.ckpt")
    flip(run / "checkpoints/previous.ckpt")
    assert "the checkpoint before it is runs/version_0/checkpoints/best.ckpt" in rejected("fit", "--ckpt_path", "last")
    flip(run / "checkpoints/best.ckpt")
    assert "before" not in rejected("fit", "--ckpt_path", "last")


def test_no_flipped_byte_changes_what_is_read(tmp_path):
    """It is either said or of no effect, wherever it is: in a tensor, in the archive's own structures, in between."""
    path, content = tmp_path / "small.ckpt", {f"{number}": torch.randn(20) for number in range(5)}
    torch.save({"state_dict": content, "hyper_parameters": {}, "datamodule_hyper_parameters": {}}, path)
    whole, said = path.read_bytes(), 0
    for position in range(0, len(whole), 11):
        flip(path, position)
        try:
            read = read_checkpoint(path)["state_dict"]
        except UserError:
            said += 1
        else:
            assert all(torch.equal(read[name], content[name]) for name in content), position
        path.write_bytes(whole)
    assert said > len(whole) / 11 / 4


@pytest.mark.slow
def test_the_checkpoint_before_goes_on_as_the_sentence_says(run, small):
    expected = (run / "metrics.csv").read_bytes()
    truncate(run / "checkpoints/last.ckpt")
    shutil.copy(run / "checkpoints/previous.ckpt", run / "checkpoints/last.ckpt")
    main(["fit", *small, "--trainer.max_epochs", "2", "--ckpt_path", "last"])
    assert (run / "metrics.csv").read_bytes() == expected


@pytest.mark.slow
def test_a_complete_run_says_so_and_stays_as_it_is(run, small, monkeypatch, in_tmp):
    said = []
    monkeypatch.setattr(resumption, "rank_zero_info", said.append)
    before = {path: path.read_bytes() for path in run.rglob("*.c*")}
    main(["fit", *small, "--trainer.max_epochs", "2", "--ckpt_path", "last"])
    assert said == ["This run is complete, with 2 epochs; a larger --trainer.max_epochs goes on."]
    assert {path: path.read_bytes() for path in run.rglob("*.c*")} == before
    assert [path.name for path in (in_tmp / "runs").iterdir()] == ["version_0"]


@pytest.mark.slow
def test_a_new_run_that_goes_on_from_a_checkpoint_says_what_it_has_done_already(run, small, monkeypatch, in_tmp):
    said = []
    monkeypatch.setattr(resumption, "rank_zero_info", said.append)
    checkpoint = ["--ckpt_path", str(run / "checkpoints/last.ckpt")]
    main(["fit", *small, "--trainer.max_epochs", "2", *checkpoint])
    assert said == ["This run is complete, with 2 epochs; a larger --trainer.max_epochs goes on."]
    main(["fit", *small, "--trainer.max_epochs", "3", *checkpoint])
    assert len(said) == 1
    with (in_tmp / "runs/version_2/metrics.csv").open() as file:
        assert {row["epoch"] for row in csv.DictReader(file) if row["epoch"]} == {"2"}


def test_weights_alone_are_no_training_to_go_on_with(run, rejected):
    content = read_checkpoint(run / "checkpoints/last.ckpt")
    torch.save({key: value for key, value in content.items() if key != "loops"}, run / "weights.ckpt")
    assert rejected("fit", "--ckpt_path", str(run / "weights.ckpt")).endswith("got one of weights only")


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.lockf(file, fcntl.LOCK_EX)
file.truncate(0)
print("process 1234 on a machine", file=file, flush=True)
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_run_that_another_process_trains_is_left_alone(run, rejected):
    command = [sys.executable, "-c", HOLD, str(run / ".lock")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "locked\n"
        assert rejected("fit", "--ckpt_path", "last") == (
            "runs/version_0 is in use: process 1234 on a machine trains there; wait for its end, or leave out "
            "--ckpt_path last to start another run"
        )
        rank_zero_only.rank = 1
        assert lock_run(run) is None  # the first of several processes has it for all
    finally:
        rank_zero_only.rank = 0
        holder.kill()
        holder.communicate()
    assert lock_run(run)  # what a killed process leaves locks nothing
    assert (run / ".lock").read_text().startswith(f"process {os.getpid()} on ")
