"""A folder in MOTChallenge layout: where its sequences and images are, and how large."""

from __future__ import annotations

import configparser
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.footage import DEFAULT_FPS
from datamodules.image_files import image_size
from scene_model.batch import SequenceInfo
from scene_model.errors import UserError

_NUMBERED_IMAGE = re.compile(r"(?!\.)(.*?)(\d+)(\.(?:jpe?g|png))", re.IGNORECASE)


@dataclass(frozen=True)
class SequenceFolder:
    """One sequence on disk.

    Args:
        path: its folder.
        info: its name and sizes, all frames counted.
        images: the folder of its images.
        files: their names ``[F]``, in the order of the frames; an array, so that workers share it.
    """

    path: Path
    info: SequenceInfo
    images: Path
    files: NDArray[np.str_]

    @property
    def annotations(self) -> Path:
        """Where the annotations are, if there are any."""
        return self.path / "gt" / "gt.txt"

    def image(self, index: int) -> Path:
        """The image of a frame, counted from 0."""
        return self.images / str(self.files[index])


def find_sequences(root: str) -> list[Path]:
    """The sequence folders that a path means: itself, those inside it, or those inside the splits inside it.

    Raises:
        UserError: there is none, or two have the same name.
    """
    if not root:
        raise UserError("MOTChallenge needs `root`: a sequence folder or a folder of sequence folders")
    top = Path(os.path.abspath(os.path.expanduser(root)))
    if not os.path.isdir(top):  # which also takes what can be no path
        raise UserError(f"{root}: expected a sequence folder or a folder of sequence folders, found no folder")
    found = next(filter(None, map(_sequences_among, _levels(top))), None)
    if found is None:
        raise UserError(f"{root}: expected sequence folders with img1/ or gt/gt.txt inside, found none")
    for one, other in pairwise(found):
        if one.name == other.name:
            raise UserError(f"{root}: expected different sequence names, found {one} and {other}; choose one split")
    return found


def is_sequence(folder: Path) -> bool:
    """Whether a folder looks like one sequence in MOTChallenge layout."""
    return any(os.path.exists(folder / mark) for mark in ("img1", "gt/gt.txt", "seqinfo.ini"))


def read_folder(path: Path) -> SequenceFolder:
    """Finds the images of a sequence; `seqinfo.ini` is optional, and must agree with them where it is there.

    Raises:
        UserError: an image is missing or not numbered, `seqinfo.ini` is malformed or contradicts the images, or
            something cannot be read.
    """
    try:
        return _read_folder(path)
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from error


def _read_folder(path: Path) -> SequenceFolder:
    ini = path / "seqinfo.ini"
    settings = _read_settings(ini)
    default = path / "img1" if (path / "img1").is_dir() else path
    images = path / settings["imDir"] if "imDir" in settings else default
    files = _numbered_images(images)
    length = int(_positive(settings, ini, "seqLength", len(files)))
    if length > len(files):
        raise UserError(f"{_next_to(images / str(files[-1]))}: missing, {ini} says seqLength={length}")
    height, width = image_size(images / str(files[0]))
    for key, actual in (("seqLength", len(files)), ("imWidth", width), ("imHeight", height)):
        stated = _positive(settings, ini, key, actual)
        if stated != actual:
            raise UserError(f"{ini}: {key} is {stated:g}, but the images in {images} say {actual}")
    fps = _positive(settings, ini, "frameRate", DEFAULT_FPS)
    return SequenceFolder(path, SequenceInfo(path.name, len(files), height, width, fps), images, files)


def _levels(top: Path) -> Iterator[list[Path]]:
    """A folder, those inside it, and those inside these."""
    yield [top]
    children = _subfolders(top)
    yield children
    yield [folder for child in children for folder in _subfolders(child)]


def _subfolders(path: Path) -> list[Path]:
    """Those that are not hidden; of a folder that cannot be read, such as a disk's lost+found, none."""
    try:
        return [child for child in path.iterdir() if child.is_dir() and not child.name.startswith(".")]
    except OSError:
        return []


def _sequences_among(folders: list[Path]) -> list[Path]:
    return sorted(filter(is_sequence, folders), key=lambda folder: folder.name)


def _read_settings(path: Path) -> Mapping[str, str]:
    """What a `seqinfo.ini` says, by keys in any case; nothing where there is no such file."""
    if not path.is_file():
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"))
        return parser["Sequence"]
    except (configparser.Error, UnicodeDecodeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: expected lines key=value under [Sequence] ({reason})") from error


def _positive(settings: Mapping[str, str], path: Path, key: str, default: float) -> float:
    text = settings.get(key)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise UserError(f"{path}: expected a positive number for {key}, found {text!r}")
    return number


def _numbered_images(folder: Path) -> NDArray[np.str_]:
    """Names of the images in a folder by the numbers that they end in, which count on from 1 (or from 0)."""
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: expected a folder of images, found none")
    matches = filter(None, map(_NUMBERED_IMAGE.fullmatch, os.listdir(folder)))
    named = sorted((int(match[2]), match[0]) for match in matches)
    if not named:
        raise UserError(f"{folder}: expected images named by frame number (000001.jpg, ...), found none")
    for expected, (number, name) in enumerate(named, start=min(named[0][0], 1)):
        if number > expected:
            raise UserError(f"{_sibling(folder, name, expected)}: missing, the next image there is {name}")
        if number < expected:
            raise UserError(f"{folder / name}: expected one image per frame, found frame {number} twice")
    return np.array([name for _, name in named])


def _sibling(folder: Path, name: str, number: int) -> Path:
    """The path of an image that is numbered otherwise than the one named."""
    match = _NUMBERED_IMAGE.fullmatch(name)
    assert match is not None
    return folder / f"{match[1]}{number:0{len(match[2])}d}{match[3]}"


def _next_to(path: Path) -> Path:
    """The path of the image that comes after a numbered one."""
    match = _NUMBERED_IMAGE.fullmatch(path.name)
    assert match is not None
    return _sibling(path.parent, path.name, int(match[2]) + 1)
