"""Signals that ask a process to save and end: SIGTERM, and SIGUSR1, which SLURM can be told to send ahead of it."""

from __future__ import annotations

import signal
from functools import cached_property
from typing import Any, cast

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.trainer.connectors.signal_connector import _HandlersCompose, _SignalConnector
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException


class StopAtBatchEnd(_SignalConnector):
    """Replaces Lightning's handlers, which save inside the signal under SLURM, in the middle of a step.

    Here a signal only sets a flag. A single process raises `SIGTERMException` at the end of the batch, where an
    optimizer step has been completed. Several that train together agree on it between two batches, whichever of them
    were signalled: Lightning's handler talks to the others from within the signal, in between what the step itself has
    to say to them. Nothing is requeued: SLURM does that itself after a preemption, and a job's script can.

    Args:
        trainer: whose handlers these are.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._requested = False
        super().__init__(trainer)
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = self._agree  # type: ignore[method-assign]

    @property
    def received_sigterm(self) -> bool:
        """Whether this process is to stop now, by itself; Lightning asks at the end of every batch."""
        if not self._requested or self.trainer.state.fn != TrainerFn.FITTING:
            return self._requested
        return self.trainer.world_size == 1 and not self._in_the_middle_of_a_step()

    @received_sigterm.setter
    def received_sigterm(self, received: bool) -> None:
        self._requested = received

    def register_signal_handlers(self) -> None:
        """Take over SIGTERM and the signal of SLURM, unless somebody else handles that."""
        self.received_sigterm = False
        self._original_handlers = self._get_current_signal_handlers()
        before = [signal.getsignal(signal.SIGTERM)] if self._has_already_handler(signal.SIGTERM) else []
        self._register_signal(signal.SIGTERM, _HandlersCompose([self._stop, *before]))
        environment = self.trainer._accelerator_connector.cluster_environment
        of_slurm = environment.requeue_signal if isinstance(environment, SLURMEnvironment) else None
        early: Any = of_slurm or getattr(signal, "SIGUSR1", None)  # which Windows does not have
        if early is not None and not self._has_already_handler(early):
            self._register_signal(early, self._stop)

    def _stop(self, signum: Any, _: Any) -> None:
        launcher = self.trainer.strategy.launcher
        if not self._requested and launcher is not None:
            launcher.kill(signum)
        self._requested = True

    def _agree(self) -> None:
        """Raise on all processes if one of them is to stop; in the place of a broadcast by Lightning."""
        flag = torch.tensor(self._requested and not self._in_the_middle_of_a_step(), dtype=torch.int32)
        dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._group_of_hosts)
        if flag.item():
            raise SIGTERMException

    @cached_property
    def _group_of_hosts(self) -> dist.ProcessGroup | None:
        """All processes, talking from host to host, so that nobody waits for a device; None: they do so anyway."""
        if dist.get_backend() == "gloo":
            return None
        timeout = getattr(self.trainer.strategy, "_timeout", None)
        return cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=timeout))

    def _in_the_middle_of_a_step(self) -> bool:
        """Whether gradients are being accumulated, which no checkpoint holds."""
        return bool(self.trainer.fit_loop._should_accumulate())
