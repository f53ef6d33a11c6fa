"""How much memory a training takes, and whether it grows.

    python benchmarks/memory.py growth [--steps 2000] [-- flags of fit]
    python benchmarks/memory.py validation [-- flags of validate]
    python benchmarks/memory.py peaks [--rows base mot] [-- flags of fit]

`growth` trains a tiny model with two workers and prints the memory of each process as steps go by, with a validation
and a checkpoint every 50 steps: the resident pages that it has asked for. Pages of files, such as PyTorch's libraries,
are left out: the system drops and reads them as it likes. What workers share with the main process since they were
forked counts in each. `validation` prints the peak of validations of growing length. `peaks` prints the peak of two
training steps against clip length, frame size, queries and gradient checkpointing, each in a process of its own, which
reads its data itself.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from lightning.pytorch import Callback

sys.path.insert(0, str(Path(__file__).parent.parent))
from main import main as run

ROOT = Path(__file__).parent.parent

BASE = ["--config", str(ROOT / "config/base.yaml")]
SCENES = ["--data.train", "datamodules.SyntheticScenes", "--data.val", "datamodules.SyntheticScenes"]
QUIET = ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
TINY = [
    *("--model.backbone.name", "mobilenet_v3_small", "--model.encoder.channels", "32"),
    *("--model.decoder.num_layers", "1", "--model.decoder.num_queries", "6"),
    *("--data.image_size", "[64,64]", "--data.train.image_size", "[64,64]", "--data.val.image_size", "[64,64]"),
    *("--data.batch_size", "2", "--data.num_workers", "2", "--data.val.num_scenes", "4"),
]
MOT = [*BASE, "--config", str(ROOT / "config/mot.yaml"), *SCENES]
ROWS = {
    "base": (BASE, [(4, 128, 128, 24), (8, 128, 128, 24), (16, 128, 128, 24), (4, 256, 256, 24), (4, 128, 128, 100)]),
    "mot": (MOT, [(4, 384, 512, 40), (8, 384, 512, 40), (4, 768, 1024, 40), (4, 384, 512, 100), (4, 384, 512, 300)]),
}


class GrowthPrinter(Callback):
    """Prints the memory of this process and its workers every so many steps."""

    def __init__(self, every: int = 200) -> None:
        self.every = every
        self.first: float | None = None

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step % self.every == 0:
            workers = [process.pid for process in multiprocessing.active_children()]
            main, rest = anonymous_mib(os.getpid()), [anonymous_mib(pid) for pid in workers]
            total = main + sum(rest)
            self.first = self.first or total
            parts = " + ".join(f"{mib:.1f}" for mib in (main, *rest))
            print(
                f"step {trainer.global_step:>6}: {total:7.1f} MiB = {parts}; {total / self.first - 1:+.1%}", flush=True
            )


def anonymous_mib(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(map(int, re.findall(r"^(?:Anonymous|Swap):\s+(\d+) kB", rollup, re.MULTILINE))) / 1024


def growth(steps: int, flags: list[str]) -> None:
    epochs = ["--data.clips_per_epoch", "100", "--trainer.max_epochs", str(-(-steps // 50))]
    printer = ["--trainer.callbacks", "__main__.GrowthPrinter"]
    with tempfile.TemporaryDirectory() as folder:
        run(["fit", *BASE, *TINY, *QUIET, *epochs, *printer, "--trainer.default_root_dir", folder, *flags])


def peak_mib(command: list[str]) -> float:
    """Of a command, in a process of its own that has imported everything."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        child = os.fork()
        if not child:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            _run_and_exit([*command, *QUIET, "--trainer.default_root_dir", folder])
        _, status, usage = os.wait4(child, 0)
        if status:
            log.seek(0)
            raise SystemExit(f"{' '.join(command)} fails:\n{log.read().decode()[-2000:]}")
    return usage.ru_maxrss / 1024


def _run_and_exit(command: list[str]) -> NoReturn:
    try:
        run(command)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def validation(flags: list[str]) -> None:
    print("frames, peak without and with data.val_sequences")
    for scenes in (2, 8, 32, 128):
        length = ["--data.num_workers", "0", "--data.val.num_scenes", str(scenes), "--data.val.num_frames", "48"]
        command = ["validate", *BASE, *TINY, *length, *flags]
        peaks = [peak_mib([*command, "--data.val_sequences", whole]) for whole in ("false", "true")]
        print(f"{48 * scenes:>6} {peaks[0]:8.0f} MiB {peaks[1]:8.0f} MiB", flush=True)


def peaks(names: list[str], flags: list[str]) -> None:
    print("| config | T | frame | queries | peak MiB | with gradient checkpointing | saved |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in names:
        config, settings = ROWS[name]
        for length, height, width, queries in settings:
            command = ["fit", *config, *shape(length, height, width, queries), *flags]
            plain, saving = (peak_mib([*command, "--model.gradient_checkpointing", on]) for on in ("false", "true"))
            cells = f"{name} | {length} | {height}x{width} | {queries} | {plain:.0f} | {saving:.0f}"
            print(f"| {cells} | {1 - saving / plain:.0%} |", flush=True)


def shape(length: int, height: int, width: int, queries: int) -> Iterator[str]:
    size = f"[{height},{width}]"
    yield from ("--trainer.max_steps", "2", "--trainer.limit_val_batches", "0", "--data.num_workers", "0")
    yield from ("--data.image_size", size, "--data.train.image_size", size, "--data.train.num_frames", str(2 * length))
    yield from ("--data.clip_length", str(length), "--model.decoder.num_queries", str(queries))


def main() -> None:
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("growth", "validation", "peaks"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=list(ROWS))
    options, flags = parser.parse_args(arguments[:split]), arguments[split + 1 :]
    if options.what == "growth":
        growth(options.steps, flags)
    elif options.what == "validation":
        validation(flags)
    else:
        peaks(options.rows, flags)


if __name__ == "__main__":
    main()
