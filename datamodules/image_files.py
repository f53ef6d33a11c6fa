"""Image files as frames: sizes from headers, decoding that never trusts a header, a cache bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import get_worker_info
from torchvision.io import decode_image
from torchvision.transforms.v2.functional import to_dtype

from scene_model.errors import UserError

_TORCHVISION_FORMATS = ("JPEG", "MPO", "PNG", "WEBP")  # MPO is what Pillow calls JPEG files of some cameras


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image file; only its header is read.

    Raises:
        UserError: the file cannot be read, is no image, or its header claims an absurd size.
    """
    try:
        with path.open("rb") as file:
            return _read_header(file, path).size
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def read_image(path: Path, size: tuple[int, int] | None = None) -> Tensor:
    """Decodes an image file: uint8 ``[3, H, W]``, RGB, oriented as stored.

    Args:
        path: the file.
        size: (height, width) that it must have; null takes any that is not absurd.

    Raises:
        UserError: the file cannot be read or decoded, or its header claims another size (found before any memory is
            spent on it).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    header = _read_header(BytesIO(content), path)
    if size not in (None, header.size):
        (height, width), (found_height, found_width) = size, header.size
        raise UserError(f"{path}: expected {width}x{height} pixels as before, found {found_width}x{found_height}")
    decode = _decode_by_torchvision if header.format in _TORCHVISION_FORMATS else _decode_by_pillow
    try:
        return decode(content)
    except (RuntimeError, OSError) as error:
        raise UserError(f"{path}: the image is damaged ({str(error).splitlines()[0]})") from error


def _decode_by_torchvision(content: bytes) -> Tensor:
    image = decode_image(torch.frombuffer(bytearray(content), dtype=torch.uint8), mode="RGB")
    frame: Tensor = to_dtype(image, torch.uint8, scale=True)
    return frame


def _decode_by_pillow(content: bytes) -> Tensor:
    with Image.open(BytesIO(content)) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


class _Header(NamedTuple):
    size: tuple[int, int]
    format: str | None


def _read_header(file: BinaryIO, path: Path) -> _Header:
    try:
        with Image.open(file) as image:
            return _Header((image.height, image.width), image.format)
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: expected a video frame, found an image of absurd size ({error})") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: expected an image, found something else or a damaged header") from error


class FrameCache:
    """The frames used last, up to a number of bytes shared evenly by the workers of a DataLoader.

    Copies, and so workers that are spawned, start empty.

    Args:
        max_bytes: bound over all workers; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._frames: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._num_bytes = 0

    def __reduce__(self) -> tuple[type[FrameCache], tuple[int]]:
        return FrameCache, (self.max_bytes,)

    def get(self, key: Hashable, read: Callable[[], Tensor]) -> Tensor:
        """The frame kept under a key, else the one that `read` returns; not to be changed in place."""
        if key in self._frames:
            self._frames.move_to_end(key)
            return self._frames[key]
        frame = read()
        worker = get_worker_info()
        budget = self.max_bytes // (worker.num_workers if worker else 1)
        if frame.nbytes <= budget:
            self._frames[key] = frame
            self._num_bytes += frame.nbytes
        while self._num_bytes > budget:
            self._num_bytes -= self._frames.popitem(last=False)[1].nbytes
        return frame
