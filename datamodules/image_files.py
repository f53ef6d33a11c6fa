"""Image files as frames: sizes from headers, decoding that never trusts a header, a cache bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import get_worker_info
from torchvision.transforms.v2 import functional as F

from scene_model.errors import UserError

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image file; only its header is read.

    Raises:
        UserError: the file cannot be read, is no image, or its header claims an absurd size.
    """
    with _opened(path) as image:
        return image.height, image.width


def read_image(path: Path) -> Tensor:
    """Decodes an image file: uint8 ``[3, H, W]``, RGB, oriented as stored.

    Raises:
        UserError: the file cannot be read or decoded, or its header claims an absurd size (found before any memory is
            spent on it).
    """
    with _opened(path) as image:
        return _decode(path, image, _rgb)


def scaled_to(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """A frame ``[3, h, w]`` scaled to `size`, (height, width)."""
    return F.resize(frame, list(size), antialias=True)


def read_upright(path: Path) -> Tensor:
    """Decodes an image file: uint8 ``[3, H, W]``, RGB, turned as its EXIF data say and viewers show it.

    Raises:
        UserError: the file cannot be read or decoded.
    """
    with _opened(path) as image:
        return _decode(path, image, _upright)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file of which the header is read."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    with file:
        try:
            image = Image.open(file, formats=_FORMATS)
        except Image.DecompressionBombError as error:
            raise UserError(f"{path}: expected a video frame, found an image of absurd size ({error})") from error
        except Exception as error:  # see _decode
            raise UserError(f"{path}: expected an image, found something else or a damaged header") from error
        with image:
            yield image


def _decode(path: Path, image: Image.Image, decode: Callable[[Image.Image], Tensor]) -> Tensor:
    try:
        return decode(image)
    except Exception as error:  # of damaged files Pillow raises whatever comes, SyntaxError and IndexError too
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: the image is damaged ({reason})") from error


def _rgb(image: Image.Image) -> Tensor:
    """uint8 ``[3, H, W]`` of any image; transparency is dropped."""
    if image.mode.startswith("I"):  # 16 bit of grey, of which Pillow would cut off what is above 255
        grey = torch.from_numpy((np.array(image) >> 8).clip(0, 255).astype(np.uint8))
        return grey.expand(3, -1, -1)
    image.load()
    image.info.pop("transparency", None)  # of palettes, about which Pillow warns
    pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _upright(image: Image.Image) -> Tensor:
    ImageOps.exif_transpose(image, in_place=True)
    return _rgb(image)


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
