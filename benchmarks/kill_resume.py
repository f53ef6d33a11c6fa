"""Kill a training at random moments, go on with it, and see that it ends as if nothing had happened, to the bit.

    python -m benchmarks.kill_resume [--kills 20] [--aimed 10] [--seed 0] [-- flags of fit]

Each trial starts a training in a process of its own, sends SIGKILL, starts the same command again and compares the end
with that of a training that was left alone: weights, their averages, moments and learning rates in `last.ckpt`, the
weights of `best.ckpt`, `metrics.csv` as a file, and the scalars that TensorBoard shows. The first trials die at a
random moment of the time that its steps take, the others at a random time of a chosen place, see `dying_fit.py`.
The processes are forked from this one, which has imported the program: that is most of what a short training takes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import main as program
from benchmarks.dying_fit import PLACES

ROOT = Path(__file__).parent.parent
FLAGS = [
    *("--config", str(ROOT / "config/base.yaml")),
    *("--data.clips_per_epoch", "40"),
    *("--data.val.num_scenes", "2"),
    *("--data.num_workers", "2"),
    *("--data.augmentation", '{"flip": 0.5, "reverse": 0.5, "scale": [0.8, 1.2], "brightness": 0.3}'),
    *("--trainer.max_epochs", "3"),
    *("--trainer.val_check_interval", "0.5"),
    *("--trainer.log_every_n_steps", "1"),
    *("--checkpoint.every_n_train_steps", "4"),
    *("--ckpt_path", "last"),
]
COMPARED = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "global_step", "epoch")
AIMS = {"validation": 12, "write": 8, "rename": 8, "renamed": 8, "step": 3}  # and how often a training comes there
FORK = multiprocessing.get_context("fork")


def start(folder: Path, flags: Sequence[str], prepare: Callable[[], None] | None = None) -> BaseProcess:
    """A `fit` in a folder."""

    def fit() -> None:
        os.chdir(folder)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream.fileno())
        if prepare:
            prepare()
        program.main(["fit", *flags])

    process = FORK.Process(target=fit)
    process.start()
    return process


def wait_for(folder: Path, pattern: str, process: BaseProcess) -> None:
    while process.is_alive() and not list(folder.rglob(pattern)):
        time.sleep(0.05)


def kill_after(seconds: float, folder: Path, flags: Sequence[str]) -> None:
    """Start a training, and kill it some time after its first step."""
    process = start(folder, flags)
    wait_for(folder, "metrics.csv", process)
    process.join(seconds)
    process.kill()
    process.join()


def kill_at(place: str, times: int, folder: Path, flags: Sequence[str]) -> None:
    """Have a training kill itself; one that never comes there is complete."""
    start(folder, flags, partial(PLACES[place], times)).join()


def result(folder: Path) -> dict[str, Any]:
    """All that a training leaves behind and that must not depend on what happened to it."""
    [last] = folder.rglob("checkpoints/last.ckpt")
    run = last.parent.parent
    checkpoint = torch.load(last, weights_only=True)
    events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    scalars = {tag: {(event.step, event.value) for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
    return {
        **{key: checkpoint[key] for key in COMPARED},
        "best": torch.load(last.with_name("best.ckpt"), weights_only=True)["state_dict"],
        "metrics.csv": (run / "metrics.csv").read_text(),
        "TensorBoard": scalars,
    }


def differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Names of what differs in a bit."""
    if type(one) is not type(other):
        return [name]
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [name]
    if isinstance(one, list | tuple):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if isinstance(one, dict):
        wrong = [f"{name}.{key}" for key in one.keys() ^ other.keys()]
        return wrong + [
            path for key in one.keys() & other.keys() for path in differences(one[key], other[key], f"{name}.{key}")
        ]
    return [] if one == other else [name]


def resumed(folder: Path, flags: Sequence[str]) -> dict[str, Any]:
    """Give the same command again, and see what it comes to.

    Raises:
        RuntimeError: it failed.
    """
    process = start(folder, flags)
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the same command given again exits {process.exitcode}")
    return result(folder)


def trial(how: str, number: float, flags: list[str], expected: dict[str, Any]) -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if how == "random":
            kill_after(number, folder, flags)
        else:
            kill_at(how, int(number), folder, flags)
        saved = list(folder.rglob("last.ckpt"))
        step = torch.load(saved[0], weights_only=True)["global_step"] if saved else 0
        try:
            wrong = differences(resumed(folder, flags), expected)
        except RuntimeError as error:
            wrong = [str(error)]
        moment = f"{number:.1f} s after the first step" if how == "random" else f"{how}, {number:.0f}. time"
        print(
            f"killed: {moment}; going on from step {step}: {'DIFFERENT ' + ', '.join(wrong[:4]) if wrong else 'same'}",
            flush=True,
        )
        return not wrong


def main() -> int:
    torch.set_num_threads(1)  # sums depend on how they are split, and threads do not survive a fork
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--aimed", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options, flags = parser.parse_args(arguments[:split]), [*FLAGS, *arguments[split + 1 :]]
    dice = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        whole = start(Path(name), flags)
        wait_for(Path(name), "metrics.csv", whole)
        begin = time.monotonic()
        whole.join()
        if whole.exitcode:
            raise SystemExit(f"the training fails by itself:\n{(Path(name) / 'output.txt').read_text()}")
        seconds, expected = time.monotonic() - begin, result(Path(name))
    print(f"a training takes {seconds:.1f} s", flush=True)
    trials = [("random", dice.uniform(0, seconds)) for _ in range(options.kills)]
    for number in range(options.aimed):
        place = list(AIMS)[number % len(AIMS)]
        trials.append((place, dice.randint(1, AIMS[place])))
    same = [trial(how, moment, flags, expected) for how, moment in trials]
    print(f"{sum(same)} of {len(same)} ended the same")
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main())
