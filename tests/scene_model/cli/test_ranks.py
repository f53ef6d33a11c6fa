"""What becomes of a run whose processes fail, without training any."""

import os
import signal
import subprocess
import time
from contextlib import nullcontext
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch.distributed as dist
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.distributed import _destroy_dist_connection

from scene_model.cli import ranks
from scene_model.cli.ranks import _LaunchedRanks, check_ranks, ranks_end_together
from scene_model.errors import UserError

OVER = "the run is over, fit --ckpt_path last goes on with it\n"
TIMED_OUT = "[../gloo/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 20000ms for recv operation to complete"
CLOSED = "[../gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4711"


@pytest.fixture
def processes():
    """A process that sleeps beside one that exits with a code; ended in any case."""
    started = []

    def start(code):
        started.extend(subprocess.Popen(["sh", "-c", script]) for script in ("sleep 60", f"exit {code}"))
        return started

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("code", "exit_code"), [(1, 1), (2, 2), (3, 3), (7, 1)])
def test_the_first_failure_is_told_with_its_code(processes, capsys, code, exit_code):
    launched = _LaunchedRanks()
    launched.watch(processes(code))
    launched.wait_for_a_failure(patience=10)
    launched.end(patience=0)
    assert [process.returncode for process in launched.processes] == [-signal.SIGKILL, code]
    with pytest.raises(SystemExit) as exit_:
        launched.tell_failure()
    assert exit_.value.code == exit_code
    assert capsys.readouterr().err == f"error: rank 2 ended with code {code}, see its message; {OVER}"


def test_a_process_that_was_stopped_is_ended(processes):
    launched = _LaunchedRanks()
    launched.watch(processes(0))
    os.kill(launched.processes[0].pid, signal.SIGSTOP)
    launched.end(patience=0)
    assert launched.processes[0].returncode == -signal.SIGKILL


def test_a_run_that_notices_no_failure_is_ended(processes, monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(ranks, "_GRACE", 0.1)
    monkeypatch.setattr(os, "_exit", codes.append)
    launched = _LaunchedRanks()
    launched.watch(processes(2))
    give_up = time.monotonic() + 10
    while not codes and time.monotonic() < give_up:
        time.sleep(0.02)
    assert codes == [2]
    assert launched.processes[0].returncode == -signal.SIGKILL
    assert capsys.readouterr().err.startswith("error: rank 2 ended with code 2")


def trainer(rank=0, world_size=1):
    strategy = SimpleNamespace(launcher=None, _timeout=timedelta(seconds=20))
    return SimpleNamespace(strategy=strategy, global_rank=rank, world_size=world_size)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (TIMED_OUT, " for longer than trainer.strategy.init_args.timeout (0:00:20); "),
        (CLOSED, ", which has ended; "),
    ],
)
def test_a_lost_connection_is_a_sentence(capsys, error, sentence):
    with pytest.raises(SystemExit) as exit_, ranks_end_together(trainer(world_size=2)):
        raise RuntimeError(error)
    assert exit_.value.code == 1
    assert capsys.readouterr().err == f"error: rank 0 has waited for another rank{sentence}{OVER}"


@pytest.mark.parametrize("error", [RuntimeError("planted"), UserError("planted"), KeyError("planted")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error), match="planted"), ranks_end_together(trainer()):
        raise error


def test_a_process_by_itself_has_lost_nobody():
    with pytest.raises(RuntimeError, match="Broken pipe"), ranks_end_together(trainer()):
        raise RuntimeError("Broken pipe, planted")


@pytest.mark.parametrize("fails", [False, True])
def test_nobody_waits_at_its_exit_for_ranks_that_wait_for_it(monkeypatch, fails):
    """All leave the process group before one waits for the others' end; where one has failed, it does not wait."""
    at_exit = []
    monkeypatch.setattr("atexit.unregister", at_exit.append)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(KeyError) if fails else nullcontext(), ranks_end_together(trainer()):
            if fails:
                raise KeyError("planted")
        assert dist.is_initialized() == fails
        assert at_exit == [_destroy_dist_connection]
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def test_torchrun_has_started_as_many_as_there_are_devices(monkeypatch):
    monkeypatch.setattr(TorchElasticEnvironment, "detect", lambda: True)
    monkeypatch.setenv("WORLD_SIZE", "4")
    check_ranks(trainer(world_size=4))
    with pytest.raises(UserError, match=r"^trainer.devices: torchrun has started 4 processes, .* is 2$"):
        check_ranks(trainer(world_size=2))
