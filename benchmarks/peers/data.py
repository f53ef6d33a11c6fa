"""The same data for all systems, on disk: MOTChallenge folders, and images and labels as YOLO reads them."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from datamodules import MOTChallenge, Source, SyntheticScenes
from datamodules.mot_folder import find_sequences, read_folder
from scene_model.errors import UserError
from scene_model.mot_text import write_mot

Place = Callable[[int, int, Path], None]
"""Puts the image of a sequence's frame, both counted from 0, in a place, whose name gets the suffix of the image."""

FrameRange = tuple[int, int]

YOLO_VALIDATES_EVERY = 4
"""So many frames of the synthetic part for tuning: all of them, in 20 epochs, would take nearly half of its minutes."""


@dataclass(frozen=True)
class Dataset:
    """Data that all systems can be trained on and scored by.

    Args:
        name: of the data.
        classes: names, in the order of the labels.
        fit_flags: what `fit` takes to train on it.
        yolo: the data file of YOLO.
        num_images: training images that YOLO finds there.
        yolo_epochs: that YOLO's images are to make within the budget; None: all images are used.
        imgsz: that YOLO is trained with.
        tune: the MOTChallenge folder for the choice of checkpoint and threshold.
        val: the one for the scores.
    """

    name: str
    classes: list[str]
    fit_flags: list[str]
    yolo: Path
    num_images: int
    yolo_epochs: int | None
    imgsz: int
    tune: Path
    val: Path

    def truth(self, part: Path) -> MOTChallenge:
        """What is scored of one of the folders."""
        return MOTChallenge(str(part), classes=self.classes)


def mot_dataset(
    name: str, root: str, work: Path, ranges: dict[str, FrameRange], classes: list[str], imgsz: int
) -> Dataset:
    """A MOTChallenge folder, each sequence of which is cut into three parts.

    Args:
        name: of the data.
        root: the folder.
        work: folder for what is written; images are linked, not copied.
        ranges: first and last frame, counted from 1, of "train", "tune" and "val".
        classes: names of the classes to detect.
        imgsz: that YOLO is trained with.

    Raises:
        UserError: the parts share frames or are not in the sequences.
    """
    _check_apart(ranges)
    where = f"{zlib.crc32(str(Path(root).resolve()).encode()):08x}"
    folder = work / "-".join([name, where, *(f"{first}_{last}" for first, last in ranges.values()), *classes])
    sources = {part: MOTChallenge(root, frames, classes) for part, frames in ranges.items()}
    if not (folder / "done").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        for part, source in sources.items():
            _write_part(source, root, ranges[part][0] - 1, folder, part)
        _finish(folder, classes)
    flags = ["--config", "config/base.yaml", "--config", "config/mot.yaml"]
    flags += ["--data.train.root", str(folder / "train"), "--data.val.root", str(folder / "tune")]
    flags += [f"--data.{part}.classes={classes}" for part in ("train", "val")]
    num_images = sum(info.num_frames for info in sources["train"].sequences())
    return Dataset(name, classes, flags, folder / "yolo.yaml", num_images, None, imgsz, folder / "tune", folder / "val")


def _write_part(source: MOTChallenge, root: str, first: int, folder: Path, part: str) -> None:
    """Writes one part for all systems, with links to the images of `root`, of which it begins at frame `first`."""
    sequences = [read_folder(path) for path in find_sequences(root)]

    def link(sequence: int, frame: int, place: Path) -> None:
        image = sequences[sequence].image(first + frame)
        place.with_name(place.name + image.suffix).symlink_to(image)

    write_mot_folder(source, folder / part, link)
    for info, sequence in zip(source.sequences(), sequences, strict=True):
        labels = sequence.annotations.with_name("labels.txt")
        if labels.is_file():
            shutil.copy(labels, folder / part / info.name / "gt")
    if part != "val":
        write_yolo(source, folder / "yolo", part, link)


def synthetic_dataset(
    work: Path, num_scenes: int, frames_each: int, imgsz: int, yolo_epochs: int, small: bool = False
) -> Dataset:
    """The built-in scenes: ours renders them without end, YOLO gets a few frames each of many scenes.

    Args:
        work: folder for what is written.
        num_scenes: scenes of YOLO's images.
        frames_each: images of each.
        imgsz: that YOLO is trained with.
        yolo_epochs: that its images are to make within the budget, at most all of them.
        small: for a quick try, short sequences to tune and validate on.
    """
    folder = work / f"synthetic-{num_scenes}x{frames_each}{'-small' if small else ''}"
    tune = SyntheticScenes("train", 2 if small else 8, 10 if small else 50, seed=1000)
    val = SyntheticScenes("val", 2 if small else 12, 10 if small else 100)
    train = SyntheticScenes("train", num_scenes, frames_each)
    if not (folder / "done").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        for part, source in (("tune", tune), ("val", val)):
            write_mot_folder(source, folder / part, saver(source))
        write_yolo(tune, folder / "yolo", "tune", saver(tune), every=YOLO_VALIDATES_EVERY)
        write_yolo(train, folder / "yolo", "train", saver(train))
        _finish(folder, train.class_names)
    flags = ["--config", "config/base.yaml", "--data.val", "datamodules.MOTChallenge"]
    flags += ["--data.val.root", str(folder / "tune"), f"--data.val.classes={train.class_names}"]
    return Dataset(
        name="synthetic",
        classes=train.class_names,
        fit_flags=flags,
        yolo=folder / "yolo.yaml",
        num_images=num_scenes * frames_each,
        yolo_epochs=yolo_epochs,
        imgsz=imgsz,
        tune=folder / "tune",
        val=folder / "val",
    )


def saver(source: Source) -> Place:
    """Renders frames into PNG files, which lose nothing."""

    def save(sequence: int, frame: int, place: Path) -> None:
        pixels = source.frame(sequence, frame).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(place.with_name(f"{place.name}.png"), compress_level=1)

    return save


def write_mot_folder(source: Source, folder: Path, place: Place) -> None:
    """Writes annotated sequences in MOTChallenge layout, frames counted from 1; classes of several are named."""
    for number, info in enumerate(source.sequences()):
        images = folder / info.name / "img1"
        images.mkdir(parents=True)
        for index in range(info.num_frames):
            place(number, index, images / f"{index + 1:06}")
        truth = source.truth(number)
        if truth is None:
            raise UserError(f"{info.name}: expected annotations, found none")
        write_mot(folder / info.name / "gt" / "gt.txt", truth.table)
        (folder / info.name / "seqinfo.ini").write_text(f"[Sequence]\nframeRate={info.fps:g}\n")
        if len(source.class_names) > 1 and not isinstance(source, MOTChallenge):
            (folder / info.name / "gt" / "labels.txt").write_text("\n".join(source.class_names) + "\n")


def write_yolo(source: Source, folder: Path, part: str, place: Place, every: int = 1) -> None:
    """Writes ``images/<part>`` and ``labels/<part>`` of every so many frames; objects to be ignored are background.

    A file's name begins with the frame's number: the first images in their order are of as many sequences as can be.
    """
    images, labels = folder / "images" / part, folder / "labels" / part
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for number, info in enumerate(source.sequences()):
        for index in range(0, info.num_frames, every):
            name = f"{index + 1:06}_{info.name}"
            place(number, index, images / name)
            targets = source.targets(number, index)
            rows = np.column_stack([targets.labels.numpy(), targets.boxes.double().numpy()])[~targets.ignore.numpy()]
            lines = (f"{int(row[0])} " + " ".join(f"{value:.6f}" for value in row[1:]) for row in rows)
            (labels / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


def _finish(folder: Path, classes: list[str]) -> None:
    content = {"path": str(folder / "yolo"), "train": "images/train", "val": "images/tune"}
    (folder / "yolo.yaml").write_text(yaml.safe_dump(content | {"names": dict(enumerate(classes))}))
    (folder / "done").touch()


def _check_apart(ranges: dict[str, FrameRange]) -> None:
    in_order = sorted(ranges.items(), key=lambda item: item[1])
    for (one, before), (other, after) in pairwise(in_order):
        if after[0] <= before[1]:
            raise UserError(f"the frames of {one} {list(before)} and of {other} {list(after)} overlap")
