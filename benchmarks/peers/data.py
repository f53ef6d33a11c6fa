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
    where = _fingerprint(find_sequences(root))
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
        write_yolo(source, folder / "yolo", part, link, every_frame(source))


def synthetic_dataset(work: Path, num_scenes: int, imgsz: int, yolo_epochs: int, small: bool = False) -> Dataset:
    """The built-in scenes: ours renders clips of them without end, YOLO gets a frame each of very many.

    Args:
        work: folder for what is written.
        num_scenes: images of YOLO, each a frame drawn from another scene.
        imgsz: that YOLO is trained with.
        yolo_epochs: that its images are to make within the budget, at most all of them.
        small: for a quick try, short sequences to tune and validate on.
    """
    tune = SyntheticScenes("train", 2 if small else 8, 10 if small else 50, seed=1000)
    val = SyntheticScenes("val", 2 if small else 12, 10 if small else 100)
    train = SyntheticScenes("train", num_scenes)
    looks = zlib.crc32(val.frame(0, 9).numpy().tobytes())  # other code may render other scenes
    folder = work / f"synthetic-{looks:08x}-{num_scenes}{'-small' if small else ''}"
    if not (folder / "done").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        for part, source in (("tune", tune), ("val", val)):
            write_mot_folder(source, folder / part, saver(source))
        write_yolo(tune, folder / "yolo", "tune", saver(tune), every_frame(tune)[::YOLO_VALIDATES_EVERY])
        write_yolo(train, folder / "yolo", "train", saver(train), a_frame_of_each(train))
        _finish(folder, train.class_names)
    flags = ["--config", "config/base.yaml", "--data.val", "datamodules.MOTChallenge"]
    flags += ["--data.val.root", str(folder / "tune"), f"--data.val.classes={train.class_names}"]
    return Dataset(
        name="synthetic",
        classes=train.class_names,
        fit_flags=flags,
        yolo=folder / "yolo.yaml",
        num_images=num_scenes,
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


def every_frame(source: Source) -> list[tuple[int, int]]:
    """The frames of all sequences: the numbers of sequence and frame, from 0."""
    return [(number, index) for number, info in enumerate(source.sequences()) for index in range(info.num_frames)]


def a_frame_of_each(source: Source) -> list[tuple[int, int]]:
    """A frame drawn from each sequence."""
    dice = np.random.default_rng(0)
    return [(number, int(dice.integers(info.num_frames))) for number, info in enumerate(source.sequences())]


def write_yolo(source: Source, folder: Path, part: str, place: Place, frames: list[tuple[int, int]]) -> None:
    """Writes ``images/<part>`` and ``labels/<part>`` of some frames; objects to be ignored are background.

    A file's name begins with the place of its frame among these: a share of the images is the first of them.
    """
    images, labels = folder / "images" / part, folder / "labels" / part
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    names = [info.name for info in source.sequences()]
    for order, (number, index) in enumerate(frames):
        name = f"{order:06}_{names[number]}_{index + 1:06}"
        place(number, index, images / name)
        targets = source.targets(number, index)
        rows = np.column_stack([targets.labels.numpy(), targets.boxes.double().numpy()])[~targets.ignore.numpy()]
        lines = (f"{int(row[0])} " + " ".join(f"{value:.6f}" for value in row[1:]) for row in rows)
        (labels / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


def _finish(folder: Path, classes: list[str]) -> None:
    content = {"path": str(folder / "yolo"), "train": "images/train", "val": "images/tune"}
    (folder / "yolo.yaml").write_text(yaml.safe_dump(content | {"names": dict(enumerate(classes))}))
    (folder / "done").touch()


def _fingerprint(sequences: list[Path]) -> str:
    """Eight digits that are others where the sequences lie elsewhere, or have other annotations."""
    value = 0
    for path in sequences:
        annotations = read_folder(path).annotations
        text = annotations.read_bytes() if annotations.is_file() else b""
        value = zlib.crc32(str(path.resolve()).encode() + text, value)
    return f"{value:08x}"


def _check_apart(ranges: dict[str, FrameRange]) -> None:
    in_order = sorted(ranges.items(), key=lambda item: item[1])
    for (one, before), (other, after) in pairwise(in_order):
        if after[0] <= before[1]:
            raise UserError(f"the frames of {one} {list(before)} and of {other} {list(after)} overlap")
