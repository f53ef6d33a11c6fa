"""Boxes drawn on frames, colored by identity."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import torch
from PIL import ImageDraw, ImageFont
from torch import Tensor
from torchvision.ops import box_convert
from torchvision.transforms.v2 import functional as TF

Color = tuple[int, int, int]

GREY: Color = (150, 150, 150)
_GOLDEN_RATIO = 0.618033988749895


def identity_color(identity: int) -> Color:
    """The color of an identity, the same wherever it is drawn.

    Hues advance by the golden ratio, which keeps any run of consecutive identities evenly spread over the circle.
    """
    hue = identity * _GOLDEN_RATIO % 1.0
    saturation = 0.9 if identity % 2 else 0.6
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def to_uint8(frames: Tensor, mean: Tensor | None = None, std: Tensor | None = None) -> Tensor:
    """Undoes a normalisation.

    Args:
        frames: float ``[..., 3, H, W]``, ``(pixels - mean) / std`` with pixels in [0, 1].
        mean: ``[3]``; None for zeros.
        std: ``[3]``; None for ones.

    Returns:
        uint8 ``[..., 3, H, W]``.
    """
    pixels = frames.float()
    if std is not None:
        pixels = pixels * std.to(pixels).view(3, 1, 1)
    if mean is not None:
        pixels = pixels + mean.to(pixels).view(3, 1, 1)
    return (pixels.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8)


def resize_longer_side(frame: Tensor, size: int) -> Tensor:
    """A frame ``[3, H, W]`` scaled until its longer side has `size` pixels."""
    height, width = frame.shape[-2:]
    scale = size / max(height, width)
    resized: Tensor = TF.resize(frame, [max(1, round(height * scale)), max(1, round(width * scale))], antialias=True)
    return resized


def draw_boxes(
    frame: Tensor,
    boxes: Tensor,
    colors: Sequence[Color],
    labels: Sequence[str] = (),
    width: int = 2,
    caption: str = "",
) -> Tensor:
    """A copy of a frame with boxes on it.

    Args:
        frame: uint8 ``[3, H, W]`` on the CPU.
        boxes: ``[N, 4]``, (cx, cy, w, h) normalised to the frame; those that are not finite are left out.
        colors: N colors.
        labels: N short texts above the boxes, or none.
        width: of the lines, in pixels.
        caption: text for the frame's upper left corner.

    Returns:
        uint8 ``[3, H, W]``.
    """
    image = TF.to_pil_image(frame)
    canvas = ImageDraw.Draw(image)
    size = torch.tensor([image.width, image.height, image.width, image.height])
    xyxy = box_convert(boxes.float().cpu(), "cxcywh", "xyxy") * size
    drawn = [(i, xyxy[i].tolist()) for i in range(len(boxes)) if xyxy[i].isfinite().all()]
    for i, corners in drawn:
        outline(canvas, corners, colors[i], width)
    if labels:
        for i, (left, top, *_) in drawn:
            write_label(canvas, left, top, labels[i], colors[i])
    if caption:
        write_label(canvas, 0, 0, caption, (255, 255, 255))
    drawn_frame: Tensor = TF.pil_to_tensor(image)
    return drawn_frame


def outline(canvas: ImageDraw.ImageDraw, corners: Sequence[float], color: Color, width: int) -> None:
    """Draws the edges of a box (left, top, right, bottom), in pixels, as far as they can lie within the image."""
    left, top, right, bottom = _within(canvas, corners[:2]) + _within(canvas, corners[2:])
    canvas.rectangle((left, top, max(left, right), max(top, bottom)), outline=color, width=width)


def write_label(
    canvas: ImageDraw.ImageDraw, left: float, bottom: float, text: str, background: Color, size: int = 10
) -> None:
    """Writes above a line, or below it where the image ends, all of it within the image if it fits.

    Args:
        canvas: of the image.
        left: where the text begins, in pixels.
        bottom: the line's height, in pixels.
        text: what to write.
        background: color behind the text.
        size: of the font, in pixels.
    """
    font = _font(size)
    _, _, width, height = canvas.textbbox((0, 0), text, font)
    left, bottom = _within(canvas, (left, bottom))
    left = max(0, min(left, canvas.im.size[0] - width - 2))
    top = bottom - height - 1 if bottom > height else bottom
    red, green, blue = background
    is_bright = 0.299 * red + 0.587 * green + 0.114 * blue > 110
    canvas.rectangle((left, top, left + width + 1, top + height + 1), fill=background)
    canvas.text((left + 1, top), text, fill=(0, 0, 0) if is_bright else (255, 255, 255), font=font)


def _within(canvas: ImageDraw.ImageDraw, point: Sequence[float]) -> tuple[float, float]:
    """The pixel of the image that is nearest to a point."""
    width, height = canvas.im.size
    return min(max(point[0], 0), width - 1), min(max(point[1], 0), height - 1)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
