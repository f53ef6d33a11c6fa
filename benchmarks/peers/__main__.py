"""Trains ours and the peers for the same minutes, in turns, and writes a table and a picture of their scores.

    python -m benchmarks.peers synthetic --minutes 2.5 5 10 --seeds 0 1 2
    python -m benchmarks.peers pets --root PETS09-S2L1 --minutes 10 --seeds 0 1 2
    python -m benchmarks.peers mot --root MOT17 --train-frames 1 300 --tune-frames 301 350 --val-frames 351 450
    python -m benchmarks.peers pets --root PETS09-S2L1 --systems ours --name "ours, pretrained" -- \\
        --model.backbone.name mobilenet_v2 --model.backbone.weights FILE --model.optimizer.backbone_lr_ratio 0.1
    python -m benchmarks.peers report --results runs/peers/results.json

Run it in the repository's folder. A finished run is kept in the file of results and not repeated; `--score-again` has
this revision score trainings of others that the work folder still holds. What follows `--` are flags of our `fit`; give
such a variant a name. Likewise `--yolo-options` and `--yolo-name`. The rules are in docs/measurements.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.peers.data import Dataset, mot_dataset, synthetic_dataset
from benchmarks.peers.ours import Ours
from benchmarks.peers.processes import REPOSITORY, CommandError, thread_environment
from benchmarks.peers.report import write_report
from benchmarks.peers.results import Entry, KeptTraining, ResultsFile, planned
from benchmarks.peers.yolo import Yolo, require_ultralytics
from scene_model.errors import UserError
from scene_model.metrics.detection import check_extra

PETS = {"train": (1, 525), "tune": (526, 595), "val": (596, 795)}


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, and what follows `--`."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        prog="benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", choices=("synthetic", "pets", "mot", "report"))
    parser.add_argument("--root", help="the MOTChallenge folder of pets and mot")
    for part, frames in PETS.items():
        parser.add_argument(f"--{part}-frames", type=int, nargs=2, default=frames, metavar=("FIRST", "LAST"))
    parser.add_argument("--classes", nargs="+", default=["pedestrian"], help="of mot")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0], help="budgets, each a training of its own")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--systems", nargs="+", choices=("ours", "yolo"), default=["ours", "yolo"])
    parser.add_argument("--name", default="ours", help="what our configuration is called in the results")
    parser.add_argument("--imgsz", type=int, help="of YOLO: 416 for pets and mot, 128 for synthetic")
    parser.add_argument("--yolo-options", nargs="+", default=[], metavar="KEY=VALUE", help="of its train, as nbs=16")
    parser.add_argument("--yolo-name", default="YOLO11n", help="what YOLO with these is called in the results")
    parser.add_argument("--scenes", type=int, default=8192, help="synthetic: YOLO gets an image of each")
    parser.add_argument("--yolo-epochs", type=int, default=20, help="synthetic: that its images make within the budget")
    parser.add_argument("--small", action="store_true", help="synthetic: short sequences, for a quick try")
    parser.add_argument("--score-again", action="store_true", help="finished runs whose trainings are still there")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--work", type=Path, default=Path("runs/peers"), help="folder for data and checkpoints")
    parser.add_argument("--results", type=Path, default=Path("runs/peers/results.json"))
    return parser.parse_args(arguments[:split]), list(arguments[split + 1 :])


def dataset_of(options: argparse.Namespace, work: Path) -> Dataset:
    """Writes the data that the options ask for, if it is not there."""
    if options.data == "synthetic":
        imgsz = options.imgsz or 128
        return synthetic_dataset(work, options.scenes, imgsz, options.yolo_epochs, options.small)
    if not options.root:
        raise UserError(f"{options.data}: expected --root, a folder in MOTChallenge layout")
    ranges = {part: tuple(getattr(options, f"{part}_frames")) for part in PETS}
    name = "pets" if options.data == "pets" else Path(options.root).resolve().name
    return mot_dataset(name, options.root, work, ranges, options.classes, options.imgsz or 416)


def run_all(options: argparse.Namespace, flags: Sequence[str], results: ResultsFile) -> None:
    """Runs what is not finished, one after another, and adds it to the results."""
    check_extra()
    if "yolo" in options.systems:
        require_ultralytics()
    work = options.work.resolve()
    dataset = dataset_of(options, work / "data")
    environment = thread_environment(options.threads, {"YOLO_CONFIG_DIR": str(work / "ultralytics")})
    yolo = Yolo(environment, read_options(options.yolo_options))
    systems: dict[str, Ours | Yolo] = {options.name: Ours(flags, environment), options.yolo_name: yolo}
    names = [options.name if system == "ours" else options.yolo_name for system in options.systems]
    settings_of = {options.name: settings_of_ours(dataset, flags), options.yolo_name: settings_of_yolo(options)}
    for run in planned(dataset.name, names, options.minutes, options.seeds):
        settings = common_settings(options) | settings_of[run.system]
        code = circumstances(options.threads)
        folder = work / "runs" / run.folder_name
        training = KeptTraining(folder, {**vars(run), "data": dataset.val.parent.name, "settings": settings})
        trained = training.read(of_revision=None if options.score_again else code["revision"])
        if results.holds(run, settings) and not (options.score_again and trained):
            print(f"{run.folder_name}: finished before{', and its training is gone' if options.score_again else ''}")
            continue
        print(f"{run.folder_name}: begins at {datetime.now():%H:%M}", flush=True)
        begin = time.perf_counter()
        system = systems[run.system]
        if trained:
            print(f"  trained by revision {trained['revision']}, ended {trained['finished']}: only scored", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            trained = training.write(code | system.train(run, dataset, folder) | {"finished": now()})
        scores = system.score(run, dataset, folder)
        results.add(trained | {"scored": code | {"finished": now()}, "scores": scores})
        write_report(results.entries, results.path)
        said = ", ".join(f"{name} HOTA {fields['HOTA']:.3f}" for name, fields in scores.items())
        print(f"  {(time.perf_counter() - begin) / 60:.1f} minutes in all: {said}", flush=True)


def common_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The threads and data that the scores of every run depend on."""
    if options.data == "synthetic":
        data = {"small": options.small}
    else:
        data = {part: list(getattr(options, f"{part}_frames")) for part in PETS}
        data |= {"sequences": Path(options.root).resolve().name, "classes": options.classes}
    return {"threads": options.threads, **data}


def settings_of_yolo(options: argparse.Namespace) -> dict[str, Any]:
    """Its images, and its options."""
    names = ("imgsz", "scenes", "yolo_epochs") if options.data == "synthetic" else ("imgsz",)
    return {**{name: getattr(options, name) for name in names}, "flags": options.yolo_options}


def settings_of_ours(dataset: Dataset, flags: Sequence[str]) -> dict[str, Any]:
    """Our flags, and a fingerprint of what the config files say, comments aside."""
    words = [*dataset.fit_flags, *flags]
    files = [after for word, after in pairwise(words) if word == "--config"]
    content = json.dumps([yaml.safe_load((REPOSITORY / file).read_text()) for file in files], sort_keys=True)
    return {"flags": list(flags), "config": f"{zlib.crc32(content.encode()):08x}"}


def read_options(texts: Sequence[str]) -> dict[str, Any]:
    """Values by name of texts such as nbs=16.

    Raises:
        UserError: a text is none of these.
    """
    for text in texts:
        if "=" not in text:
            raise UserError(f"--yolo-options: expected KEY=VALUE, found {text}")
    return {name: yaml.safe_load(value) for name, _, value in (text.partition("=") for text in texts)}


def circumstances(threads: int) -> Entry:
    """The code and the machine that a training or its scores come from."""
    revision = _git("rev-parse", "--short", "HEAD")
    if _git("diff", "--name-only", "HEAD", "--", ".", ":!benchmarks/results"):
        revision += "-dirty"
    machine = {
        "threads": threads,
        "cpus": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    return {"revision": revision, "machine": machine}


def _git(*arguments: str) -> str:
    return subprocess.run(
        ("git", *arguments), cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.strip()


def now() -> str:
    """The moment, in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def main(arguments: Sequence[str]) -> int:
    options, flags = parse(arguments)
    try:
        results = ResultsFile(options.results)
        if options.data != "report":
            run_all(options, flags, results)
        for path in write_report(results.entries, results.path):
            print(path)
    except (UserError, CommandError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
