"""What `data.predict_path` means: one video, or several in a folder."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from datamodules.footage import Footage, ImageFolder
from datamodules.mot_folder import find_sequences, is_sequence, read_folder
from datamodules.video_file import VIDEO_SUFFIXES, VideoFile
from scene_model.errors import UserError
from scene_model.optional import require

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
"""What files in a folder end in that are taken for images."""

_EXPECTED = "expected a video file, a folder of images, a sequence in MOTChallenge layout, or a folder of any of these"

Open = Callable[[Path, str], Footage]
"""Opens a path as one video of that name, and reads its first frame."""


def find_footage(path: str | None) -> list[Footage]:
    """The videos that a path means, each with a name of its own that is safe as a file name.

    A folder that holds video files or sequences, also in the folders in it, is a folder of videos, and images beside
    them are left out, with a warning; of any other folder that holds several images these are the frames, in natural
    order (img2 before img10). What is hidden is left out.

    Raises:
        UserError: there is nothing that can be read. What cannot be read beside others gives a warning.
    """
    if not path or "\0" in path:
        raise UserError(f"{_EXPECTED}, got {path!r:.80}" if path else f"{_EXPECTED}, got nothing")
    if "://" in path:
        raise UserError(f"{path}: streams are not read; record them to a file first")
    top = Path(os.path.abspath(os.path.expanduser(path)))
    try:
        top.stat()
        videos = _videos_at(top)
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read ({error.strerror}); {_EXPECTED}") from error
    if not videos:
        raise UserError(f"{path}: {_EXPECTED}, found a folder with none of them")
    if VideoFile.open in videos.values():
        require("av", "reading video files", "video")
    return _open_all(videos, top)


def _videos_at(top: Path) -> dict[Path, Open]:
    """A path that is one video, else the videos in that folder, else the videos and sequences in the folders in it."""
    if not top.is_dir():
        return {top: VideoFile.open}
    if is_sequence(top):
        return {top: _open_sequence}
    images, below = _files(top, IMAGE_SUFFIXES), _videos_below(top)
    if not images:
        return below
    only_folders_of_images = set(below.values()) <= {_open_images}
    if only_folders_of_images and (len(images) > 1 or not below):
        if below:
            rank_zero_warn(f"{top}: runs on the images in it; those in its folders, such as {min(below)}: left out")
        return {top: _open_images}
    rank_zero_warn(f"{top}: runs on the videos in it; the images beside them, such as {images[0]}: left out")
    return below


def _videos_below(top: Path) -> dict[Path, Open]:
    """The videos in a folder; where there are none, the video files and sequences in the folders in it."""
    children = _children(top)
    found = _openers(children)
    if found:
        return found
    deeper = _openers(path for child in children if child.is_dir() for path in _children_if_any(child))
    if _open_sequence in deeper.values():
        return dict.fromkeys(find_sequences(str(top)), _open_sequence)
    return {path: opener for path, opener in deeper.items() if opener != _open_images}


def _openers(paths: Iterable[Path]) -> dict[Path, Open]:
    """Those of the paths that are one video each, and how to open them."""
    openers: dict[Path, Open] = {}
    for path in paths:
        try:
            opener = _opener(path)
        except OSError as error:
            rank_zero_warn(f"{path}: cannot be read ({error.strerror}): left out")
        else:
            if opener is not None:
                openers[path] = opener
    return openers


def _opener(path: Path) -> Open | None:
    """How to open a path inside a folder as one video; None where it is none."""
    if not path.is_dir():
        return VideoFile.open if path.suffix.lower() in VIDEO_SUFFIXES else None
    if is_sequence(path):
        return _open_sequence
    return _open_images if _files(path, IMAGE_SUFFIXES) and not _files(path, VIDEO_SUFFIXES) else None


def _open_sequence(path: Path, name: str) -> Footage:
    try:
        folder = read_folder(path)
    except UserError as error:
        raise UserError(f"{error}; a folder of images, given itself, is taken as it is") from error
    return ImageFolder.open(folder.images, folder.files, name, folder.info.fps)


def _open_images(path: Path, name: str) -> Footage:
    return ImageFolder.open(path, np.array(_files(path, IMAGE_SUFFIXES)), name)


def _open_all(videos: dict[Path, Open], top: Path) -> list[Footage]:
    """Opens each; one that cannot be opened is left out, unless it is the only one."""
    footage: list[Footage] = []
    errors: list[UserError] = []
    for (path, open_video), name in zip(videos.items(), _unique_names(list(videos), top), strict=True):
        try:
            footage.append(open_video(path, name))
        except UserError as error:
            errors.append(error)
    if not footage:
        raise errors[0]
    for sentence in errors:
        rank_zero_warn(f"{sentence}: left out")
    return footage


def _unique_names(paths: list[Path], top: Path) -> list[str]:
    """Names without the suffix; with it, then with the folders below `top`, where two would be the same.

    Names that differ in case alone are the same, as on some file systems.
    """
    names = [path.name if path.is_dir() else path.stem for path in paths]
    for longer in ([path.name for path in paths], ["_".join(path.relative_to(top).parts) for path in paths]):
        names = [
            name if is_alone else other for name, is_alone, other in zip(names, _alone(names), longer, strict=True)
        ]
    return names if all(_alone(names)) else [f"{number}_{name}" for number, name in enumerate(names, start=1)]


def _alone(names: list[str]) -> list[bool]:
    """Of each name, whether no other is the same."""
    uses = Counter(name.casefold() for name in names)
    return [uses[name.casefold()] == 1 for name in names]


def _children(folder: Path) -> list[Path]:
    """The folders and video files in a folder."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() or _suffix(entry.name) in VIDEO_SUFFIXES]
    return [folder / name for name in sorted(names, key=_natural_order) if not name.startswith(".")]


def _children_if_any(folder: Path) -> list[Path]:
    """None of a folder that cannot be read, which `_openers` has told."""
    try:
        return _children(folder)
    except OSError:
        return []


def _files(folder: Path, suffixes: Collection[str]) -> list[str]:
    """Names of the files with one of the suffixes."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_file() and not entry.name.startswith(".")]
    return sorted((name for name in names if _suffix(name) in suffixes), key=_natural_order)


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _natural_order(name: str) -> tuple[list[int | str], str]:
    """A key by which numbers in names count as numbers."""
    parts = re.split(r"(\d+)", name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name
