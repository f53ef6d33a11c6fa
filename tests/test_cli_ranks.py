"""Processes that train together end together, and say why."""

import os
import signal
import subprocess
import sys
import time

import pytest
from test_cli_processes import ENV, ROOT, finish, start

TWO = ["--trainer.devices", "2", "--trainer.strategy", "lightning.pytorch.strategies.DDPStrategy"]


@pytest.mark.parametrize("dry", [[], ["--trainer.fast_dev_run", "true"]])
def test_more_processes_than_cores_are_refused(rejected, small, dry):
    message = rejected("fit", *small, "--trainer.devices", "999", "--trainer.strategy", "ddp", *dry)
    assert message.startswith(f"trainer.devices: expected at most {os.cpu_count()}, since this machine has")


@pytest.fixture
def training(small, tmp_path, monkeypatch, request):
    """A training on two processes that has begun: the process, and the ids of its ranks."""
    monkeypatch.setitem(ENV, "PYTHONPATH", os.pathsep.join([ROOT, f"{ROOT}/tests"]))
    callback = ["--trainer.callbacks", "rank_record.RankRecord", "--trainer.callbacks.folder", str(tmp_path)]
    endless = ["--trainer.max_epochs", "10000", "--trainer.strategy.timeout", request.param]
    process = start(f"{ROOT}/main.py", "fit", *small, *TWO, *callback, *endless, cwd=tmp_path)
    files = [tmp_path / f"training{rank}" for rank in range(2)]
    while not all(file.exists() for file in files) and process.poll() is None:
        time.sleep(0.2)
    assert process.poll() is None, finish(process)
    pids = [int(file.read_text()) for file in files]
    yield process, pids
    for pid in pids:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("training", ["0:30:00"], indirect=True)
def test_a_killed_rank_ends_the_run_with_a_sentence(training):
    process, (first, second) = training
    os.kill(second, signal.SIGKILL)
    code, _, err = finish(process)
    assert process.pid == first
    assert code == 1, err
    assert (
        err.splitlines()[-1]
        == "error: rank 1 was killed by SIGKILL; the run is over, fit --ckpt_path last goes on with it"
    )
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("training", ["0:00:30"], indirect=True)
def test_a_hanging_rank_ends_the_run_within_the_timeout(training):
    process, (_, second) = training
    os.kill(second, signal.SIGSTOP)
    began = time.monotonic()
    code, _, err = finish(process)
    assert code == 1, err
    assert time.monotonic() - began < 30 + 30
    assert "error: rank 0 has waited for another rank for longer than trainer.strategy.init_args.timeout" in err
    assert "Traceback" not in err
    assert not is_running(second)


def torchrun(*command, cwd):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run(
        [*launcher, f"{ROOT}/main.py", *command], cwd=cwd, env=ENV, text=True, capture_output=True, timeout=240
    )


@pytest.mark.slow
def test_torchrun_trains_in_one_folder(small, tmp_path):
    done = torchrun("fit", *small, "--trainer.devices", "2", "--trainer.strategy", "ddp", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Done. Everything is in runs/version_0") == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["version_0"]


@pytest.mark.slow
def test_a_user_error_under_torchrun_is_said_once(small, tmp_path):
    done = torchrun("fit", *small, cwd=tmp_path)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        "error: trainer.devices: torchrun has started 2 processes, but trainer.devices x trainer.num_nodes is 1"
    ]
    assert not (tmp_path / "runs").exists()
