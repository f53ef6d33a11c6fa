"""Kill a training at random moments, go on with it, and see that it ends as if nothing had happened, to the bit.

    python benchmarks/kill_resume.py [--kills 20] [--seed 0] [-- flags of fit]

Each trial starts a training in a process of its own, sends SIGKILL at a random moment of the time that a whole training
takes, starts the same command again and compares what `last.ckpt` holds at the end with that of a training that was
left alone: weights, averages, moments, learning rates.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parent.parent
RUN = [
    *("--config", str(ROOT / "config/base.yaml")),
    *("--data.clips_per_epoch", "40"),
    *("--data.val.num_scenes", "2"),
    *("--trainer.max_epochs", "3"),
    *("--checkpoint.every_n_train_steps", "4"),
    *("--ckpt_path", "last"),
]
COMPARED = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "global_step", "epoch")


def start(folder: Path, flags: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "main.py"), "fit", *RUN, *flags]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def result(folder: Path) -> dict[str, Any]:
    [path] = folder.rglob("last.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    return {key: checkpoint[key] for key in COMPARED}


def is_same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    return one == other


def trial(moment: float, flags: list[str], expected: dict[str, Any]) -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = start(folder, flags)
        try:
            first.wait(moment)
        except subprocess.TimeoutExpired:
            first.send_signal(signal.SIGKILL)
            first.wait()
        saved = [path.parent.name for path in folder.rglob("last.ckpt")]
        code = start(folder, flags).wait()
        same = code == 0 and is_same(result(folder), expected)
        how, verdict = "going on" if saved else "from the start", "same" if same else "DIFFERENT"
        print(f"killed after {moment:6.1f} s, {how}: {verdict}", flush=True)
        return same


def main() -> int:
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options, flags = parser.parse_args(arguments[:split]), arguments[split + 1 :]
    with tempfile.TemporaryDirectory() as name:
        begin = time.monotonic()
        if start(Path(name), flags).wait():
            raise SystemExit("the training fails by itself")
        whole, expected = time.monotonic() - begin, result(Path(name))
    print(f"a whole training takes {whole:.1f} s")
    moments = random.Random(options.seed)
    same = [trial(moments.uniform(0, whole), flags, expected) for _ in range(options.kills)]
    print(f"{sum(same)} of {len(same)} ended the same")
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main())
