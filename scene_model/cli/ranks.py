"""Processes that train together, a rank each: how many there may be, and that none outlives a run that has failed."""

from __future__ import annotations

import atexit
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from signal import Signals
from typing import Any

import torch.distributed as dist
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.distributed import _destroy_dist_connection
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities.exceptions import SIGTERMException

from scene_model.cli.user_errors import fail
from scene_model.errors import UserError

_TIMEOUT = "trainer.strategy.init_args.timeout"
_OVER = "the run is over, fit --ckpt_path last goes on with it"
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
    elif isinstance(trainer.accelerator, CPUAccelerator) and _launches(trainer):
        cores = os.cpu_count() or trainer.num_devices
        if trainer.num_devices > cores:
            raise UserError(
                f"trainer.devices: expected at most {cores}, since this machine has {cores} CPU cores and each process "
                f"needs one, got {trainer.num_devices}"
            )


@contextmanager
def ranks_end_together(trainer: Trainer) -> Iterator[None]:
    """Wait for the processes that are launched from this one, and end them where this one fails.

    Lightning leaves a hanging one to itself for good, and kills this one without a word if another dies.

    Raises:
        SystemExit: a rank has failed; with code 2 if by a mistake of the user's, which it has told, else with code 1
            and a sentence, as where a rank has not answered in time.
    """
    launcher = _Launcher(trainer) if _launches(trainer) else None
    if launcher:
        trainer.strategy._launcher = launcher
    ranks = launcher.ranks if launcher else _LaunchedRanks()
    try:
        yield
        _leave_group()
        ranks.wait()
    except BaseException as error:
        atexit.unregister(_destroy_dist_connection)  # which would wait for ranks that do not come
        is_lost = trainer.world_size > 1 and _tells_of_a_lost_rank(error)
        if is_lost:
            ranks.wait_for_a_failure(patience=2)
        ranks.end(patience=_GRACE if isinstance(error, SIGTERMException) else 0)
        if is_lost:
            ranks.tell_failure()
            fail(_lost_sentence(trainer, error), code=1, waits=True)
        raise
    ranks.tell_failure()


def _leave_group() -> None:
    """End the connections of all ranks now, not at the exit of each as Lightning has it.

    NCCL ends them once all ranks of a node ask for it, and the exit of rank 0 waits for that of the others.
    """
    atexit.unregister(_destroy_dist_connection)
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


class _LaunchedRanks:
    """The processes launched from this one: which has failed first, and how.

    A thread watches them. Mostly the other ranks notice a failure by themselves; where they do not, as NCCL's, it ends
    them all.
    """

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.failure = ""
        self.code = 0
        self._has_failed, self._is_handled = threading.Event(), threading.Event()

    def watch(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self.processes = list(processes)
        threading.Thread(target=self._watch, daemon=True, name="ranks").start()

    def _watch(self) -> None:
        while not self._has_failed.is_set():
            if self._is_handled.wait(0.2):
                return
            self._look()
        if not self._is_handled.wait(_GRACE):
            self.end(patience=0)
            print(f"error: {self.failure}", file=sys.stderr, flush=True)
            os._exit(self.code)

    def _look(self) -> None:
        for rank, process in enumerate(self.processes, start=1):
            code = process.poll()
            if code:
                how = f"was killed by {Signals(-code).name}" if code < 0 else f"ended with code {code}, see its message"
                self.failure, self.code = f"rank {rank} {how}; {_OVER}", code if code in (2, 3) else 1
                self._has_failed.set()
                return

    def wait(self) -> None:
        for process in self.processes:
            process.wait()
        self._is_handled.set()
        self._look()

    def wait_for_a_failure(self, patience: float) -> None:
        if self.processes:
            self._has_failed.wait(patience)

    def end(self, patience: float) -> None:
        self._is_handled.set()
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
            process.kill()
            process.wait()

    def tell_failure(self) -> None:
        if self.failure:
            fail(self.failure, self.code)


class _Launcher(_SubprocessScriptLauncher):
    """Lightning's, whose processes are watched here."""

    def __init__(self, trainer: Trainer) -> None:
        environment: Any = trainer.strategy.cluster_environment  # type: ignore[attr-defined]
        super().__init__(environment, trainer.num_devices, trainer.num_nodes)
        self.ranks = _LaunchedRanks()

    def _call_children_scripts(self) -> None:
        super()._call_children_scripts()
        self.ranks.watch(self.procs)
        self.procs.clear()  # of which Lightning's own observer is told

    def kill(self, signum: Any) -> None:
        for process in self.ranks.processes:
            process.send_signal(signum)


def _launches(trainer: Trainer) -> bool:
    return isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher)


def _tells_of_a_lost_rank(error: BaseException) -> bool:
    if "connectFullMesh" in str(error):  # nobody was lost: the hosts never found each other
        return False
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and bool(_LOST.search(str(error))))


def _lost_sentence(trainer: Trainer, error: BaseException) -> str:
    others = f"rank {trainer.global_rank} has waited for another rank"
    if "imed out" in str(error):
        return f"{others} for longer than {_TIMEOUT} ({getattr(trainer.strategy, '_timeout', None)}); {_OVER}"
    return f"{others}, which has ended; {_OVER}"
