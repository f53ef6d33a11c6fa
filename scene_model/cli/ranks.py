"""Processes that train together, a rank each: how many there may be, and that none outlives a run that has failed."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from signal import Signals

from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.distributed import DistError

from scene_model.cli.user_errors import fail
from scene_model.errors import UserError

_TIMEOUT = "trainer.strategy.init_args.timeout"
_LOST = re.compile(r"gloo/transport|Connection (closed|reset) by peer|Timed out waiting|Broken pipe")
_GRACE = 10.0  # seconds


def check_ranks(trainer: Trainer) -> None:
    """Find out, before any process is launched, whether so many can train together.

    Raises:
        UserError: there are more processes on the CPU than cores, or not as many as torchrun has started.
    """
    if TorchElasticEnvironment.detect():
        started, asked_for = int(os.environ["WORLD_SIZE"]), trainer.world_size
        if started != asked_for:
            raise UserError(
                f"trainer.devices: torchrun has started {started} processes, but trainer.devices x trainer.num_nodes "
                f"is {asked_for}"
            )
    elif isinstance(trainer.accelerator, CPUAccelerator) and isinstance(
        trainer.strategy.launcher, _SubprocessScriptLauncher
    ):
        cores = os.cpu_count() or trainer.num_devices
        if trainer.num_devices > cores:
            raise UserError(
                f"trainer.devices: expected at most {cores}, since this machine has {cores} CPU cores and each process "
                f"needs one, got {trainer.num_devices}"
            )


@contextmanager
def ranks_end_together(trainer: Trainer) -> Iterator[None]:
    """Wait for the processes that Lightning has launched from this one, and end them where this one fails.

    Lightning leaves them to themselves, a hanging one for good.

    Raises:
        SystemExit: a rank has failed; with code 2 if by a mistake of the user's, which it has told, else with code 1
            and a sentence, as where a rank has not answered in time.
    """
    try:
        yield
        codes = [process.wait() for process in _taken_over(trainer)]
    except BaseException as error:
        launched = _taken_over(trainer)
        is_lost = isinstance(error, DistError) or (isinstance(error, RuntimeError) and bool(_LOST.search(str(error))))
        failed = _first_failed(launched, patience=2) if is_lost else None
        _end(launched, patience=_GRACE if isinstance(error, SIGTERMException) else 0)
        if failed:
            _fail_with(*failed)
        if is_lost:
            fail(_lost_sentence(trainer, error), code=1, waits=trainer.global_rank > 0)
        raise
    for rank, code in enumerate(codes, start=1):
        if code:
            _fail_with(rank, code)


def _taken_over(trainer: Trainer) -> list[subprocess.Popen[bytes]]:
    """The processes that Lightning has launched, no longer watched by its observer, which kills this one with them."""
    launcher = trainer.strategy.launcher
    if not isinstance(launcher, _SubprocessScriptLauncher):
        return []
    launched = list(launcher.procs)
    launcher.procs.clear()
    return launched


def _first_failed(launched: list[subprocess.Popen[bytes]], patience: float) -> tuple[int, int] | None:
    """Rank and exit code of a process that has failed, or does so within some seconds."""
    give_up = time.monotonic() + patience
    while launched:
        for rank, process in enumerate(launched, start=1):
            if process.poll():
                return rank, process.returncode
        if time.monotonic() > give_up:
            break
        time.sleep(0.05)
    return None


def _end(launched: list[subprocess.Popen[bytes]], patience: float) -> None:
    for process in launched:
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        process.kill()
        process.wait()


def _fail_with(rank: int, code: int) -> None:
    how = f"was killed by {Signals(-code).name}" if code < 0 else f"ended with code {code}, see its message"
    fail(f"rank {rank} {how}; the run is over, --ckpt_path last goes on with it", code=2 if code == 2 else 1)


def _lost_sentence(trainer: Trainer, error: BaseException) -> str:
    timeout = getattr(trainer.strategy, "_timeout", None)
    others = f"rank {trainer.global_rank} has waited for another rank"
    if "imed out" in str(error):
        return f"{others} for longer than {_TIMEOUT} ({timeout}); the run is over, --ckpt_path last goes on with it"
    return f"{others}, which has ended; the run is over, --ckpt_path last goes on with it"
