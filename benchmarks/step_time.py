"""Where the time of a training step goes, by part.

    python benchmarks/step_time.py config/base.yaml
    python benchmarks/step_time.py config/base.yaml config/mot.yaml --root PETS09-S2L1 --steps 12

Medians over the steps after a warm-up. Nothing else should run on the machine. What `fit` adds to a step is left out:
weight averages, the check of losses and gradients, and logs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from unittest import mock

import torch
from configured import configured

from scene_model import SceneModelLightningModule
from scene_model.batch import SceneBatch
from scene_model.cli import keep_freed_memory
from scene_model.training import head_adapter
from scene_model.training.optim import build_optimizer

PARTS = ("backbone", "encoder", "proposals", "decoder")


class Clock:
    """Seconds by part, for the step in progress and for all steps."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}
        self.step: dict[str, float] = defaultdict(float)
        self.steps: dict[str, list[float]] = defaultdict(list)

    def start(self, part: str) -> None:
        self.started[part] = time.perf_counter()

    def stop(self, part: str) -> None:
        self.step[part] += time.perf_counter() - self.started[part]

    def end_step(self) -> None:
        for part, seconds in self.step.items():
            self.steps[part].append(seconds)
        self.step.clear()

    def timed(self, part, function):
        def run(*args, **kwargs):
            self.start(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.stop(part)

        return run


def watch(module: SceneModelLightningModule, clock: Clock) -> None:
    for part in PARTS:
        submodule = getattr(module.model, part)
        submodule.register_forward_pre_hook(lambda *_, part=part: clock.start(part))
        submodule.register_forward_hook(lambda *_, part=part: clock.stop(part))


def training_step(module: SceneModelLightningModule, batch: SceneBatch, optimizer, clock: Clock) -> None:
    noise = clock.timed("denoising noise", module.denoiser.make_noise)(batch.targets, batch.seeds)
    outputs = module.model(batch.frames, noise, batch.padding_mask)
    loss = clock.timed("matching and loss", module.head_adapter.compute_loss)
    total = loss(outputs, batch.targets, batch.padding_mask, noise)["total"]
    clock.timed("backward", total.backward)()
    clock.start("optimiser")
    torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    clock.stop("optimiser")


def measure(module: SceneModelLightningModule, data, steps: int, warmup: int = 5) -> Clock:
    clock = Clock()
    watch(module, clock)
    optimizer = build_optimizer(module.model, module.model.backbone, module.optimizer_config, fused=True)
    batches = iter(data.train_dataloader())
    matching = {name: clock.timed("matching", getattr(head_adapter, name)) for name in ("matching_cost", "assign")}
    with mock.patch.multiple(head_adapter, **matching):
        for step in range(steps + warmup):
            clock.start("whole step")
            batch = clock.timed("data", lambda: data.on_after_batch_transfer(next(batches), 0))()
            training_step(module, batch, optimizer, clock)
            clock.stop("whole step")
            clock.end_step()
            if step < warmup:
                clock.steps.clear()
    return clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--root", help="the MOTChallenge folder that config/mot.yaml leaves open")
    options = parser.parse_args()
    keep_freed_memory()  # as the command line does
    module, data = configured(options.configs, options.root)
    clock = measure(module.train(), data, options.steps)
    whole = statistics.median(clock.steps["whole step"])
    print(f"{torch.get_num_threads()} threads, median of {options.steps} steps")
    for part, seconds in clock.steps.items():
        median = statistics.median(seconds)
        print(f"{part:>20} {1000 * median:8.1f} ms {100 * median / whole:6.1f} %")


if __name__ == "__main__":
    main()
