"""SIGTERM and SLURM's signal ahead of it: saved at the end of a batch, exit code 143, and the same command goes on."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
JOB = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_NNODES": "1",
    "SLURM_NODELIST": "localhost",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}
BATCH_SCRIPT = """
python "$@" --ckpt_path last
code=$?
[ $code -eq 143 ] && scontrol requeue $SLURM_JOB_ID
exit $code
"""
pytestmark = pytest.mark.slow


@pytest.fixture
def tools(tmp_path):
    """A folder for PATH, whose `scontrol` only writes down what it is asked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (folder / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked.txt\n')
    for tool in folder.iterdir():
        tool.chmod(0o755)
    return folder


def start(command, cwd, **variables):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT} | variables
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=environment, text=True, stdout=pipe, stderr=pipe)


def wait_for_rows(folder, process):
    metrics = folder / "runs/version_0/metrics.csv"
    while not metrics.exists() and process.poll() is None:
        time.sleep(0.2)


def catches(pid, signum):
    [caught] = re.findall(r"SigCgt:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())
    return int(caught, 16) >> (signum - 1) & 1


def step_of(folder):
    return torch.load(folder / "runs/version_0/checkpoints/last.ckpt", weights_only=True)["global_step"]


@pytest.mark.parametrize("variables", [JOB, {}], ids=["slurm", "no slurm"])
def test_the_signal_of_slurm_saves_at_the_end_of_the_batch_and_a_requeued_job_goes_on(
    variables, small, tmp_path, tools, logged
):
    flags = [*small, "--trainer.max_epochs", "10000", "--trainer.limit_val_batches", "0"]
    variables = {**variables, "PATH": f"{tools}:{os.environ['PATH']}"}
    first = start([sys.executable, f"{ROOT}/main.py", "fit", *flags, "--ckpt_path", "last"], tmp_path, **variables)
    wait_for_rows(tmp_path, first)
    first.send_signal(signal.SIGUSR1)
    _, err = first.communicate(timeout=240)
    assert first.returncode == 143, err
    assert not (tmp_path / "asked.txt").exists()  # that is the script's to do, and SLURM's after a preemption
    assert not list(tmp_path.rglob("hpc_ckpt*"))
    done = step_of(tmp_path)
    rows = logged(tmp_path / "runs/version_0")
    assert max(row["step"] for row in rows) == done - 1

    flags += ["--trainer.max_steps", str(done + 3)]
    again = start(["sh", "-c", BATCH_SCRIPT, "job", f"{ROOT}/main.py", "fit", *flags], tmp_path, **variables)
    _, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    assert "Restored all states" in err
    assert step_of(tmp_path) == done + 3
    steps = [row["step"] for row in logged(tmp_path / "runs/version_0") if "train/total" in row]
    assert steps == list(range(done + 3))
    assert not (tmp_path / "asked.txt").exists()


def test_the_batch_script_requeues_what_was_stopped(small, tmp_path, tools):
    flags = [*small, "--trainer.max_epochs", "10000", "--trainer.limit_val_batches", "0"]
    command = ["sh", "-c", BATCH_SCRIPT, "job", f"{ROOT}/main.py", "fit", *flags]
    job = start(command, tmp_path, **JOB, PATH=f"{tools}:{os.environ['PATH']}")
    wait_for_rows(tmp_path, job)
    trainer = int((tmp_path / "runs/version_0/.lock").read_text().split()[1])
    os.kill(trainer, signal.SIGUSR1)
    job.communicate(timeout=240)
    assert job.returncode == 143
    assert (tmp_path / "asked.txt").read_text() == "requeue 4711\n"


@pytest.mark.parametrize(("signalled", "backend"), [(0, "gloo"), (1, "gloo"), (0, "cpu:gloo,cuda:gloo")])
def test_processes_that_train_together_stop_together(small, config_folder, tmp_path, signalled, backend):
    """Whichever of them is signalled, and where another backend than gloo alone serves training."""
    flags = [*small, "--config", str(config_folder / "ddp.yaml"), "--trainer.max_epochs", "10000"]
    flags += ["--trainer.strategy.process_group_backend", backend]
    command = [sys.executable, f"{ROOT}/main.py", "fit", *flags, "--trainer.limit_val_batches", "0"]
    job = start(command, tmp_path)
    wait_for_rows(tmp_path, job)
    children = subprocess.run(["pgrep", "-P", str(job.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(children[0]) if signalled else job.pid, signal.SIGTERM)
    _, err = job.communicate(timeout=240)
    assert job.returncode == 143, err
    assert step_of(tmp_path) > 0


def test_the_signal_of_slurm_ends_what_is_no_training_too(small, tmp_path, tools):
    """Lightning would write a checkpoint, and have SLURM begin the same job again, each time from its beginning."""
    flags = [*small, "--data.val.num_scenes", "5000", "--data.val.num_frames", "40"]
    variables = {**JOB, "PATH": f"{tools}:{os.environ['PATH']}"}
    job = start([sys.executable, f"{ROOT}/main.py", "validate", *flags], tmp_path, **variables)
    while job.poll() is None and not catches(job.pid, signal.SIGUSR1):
        time.sleep(0.2)
    job.send_signal(signal.SIGUSR1)
    _, err = job.communicate(timeout=240)
    assert job.returncode == 143, err
    assert not (tmp_path / "asked.txt").exists()
    assert not list(tmp_path.rglob("hpc_ckpt*"))
