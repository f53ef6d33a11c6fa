import numpy as np
import pytest
import torch
from moving_rectangle import DARK, draw, edges, find, normalised

from datamodules.augmentation import Augmentation
from scene_model.placement import Placement, clip_boxes, letterbox

SIZES = [  # original, model's frame
    ((96, 96), (96, 96)),
    ((576, 768), (288, 384)),
    ((480, 640), (128, 128)),
    ((101, 333), (160, 97)),
    ((33, 20), (128, 200)),
]


def random_boxes(number, size, random):
    """Boxes (left, top, right, bottom) within a frame, at least an eighth of its sides long."""
    height, width = size
    low = random.uniform(0, 0.8, (number, 2))
    high = np.minimum(low + random.uniform(0.125, 0.5, (number, 2)), 1)
    pixels = np.concatenate([low, high], axis=1) * [width, height, width, height]
    return [[round(float(edge)) for edge in box] for box in pixels]


@pytest.mark.parametrize(("original", "size"), SIZES)
def test_letterbox_shows_the_whole_original_in_the_corner(original, size):
    placement = letterbox(original, size)
    picture = placement.frame(placement.cut(torch.full((2, 3, *original), 200, dtype=torch.uint8)))
    assert picture.shape == (2, 3, *size)
    height, width = placement.scaled
    assert height == size[0] or width == size[1]
    assert height / width == pytest.approx(original[0] / original[1], rel=1 / min(height, width))
    assert (picture[..., :height, :width] == 200).all()
    assert int(picture.int().sum()) == 200 * 2 * 3 * height * width


@pytest.mark.parametrize(("original", "size"), SIZES)
@pytest.mark.parametrize("mirror", [False, True])
def test_boxes_come_back_to_the_pixel(original, size, mirror):
    random = np.random.RandomState(0)
    augmented = Augmentation(scale=(0.3, 3.0), flip=float(mirror)).place(original, size, random)
    boxes = torch.tensor(random_boxes(50, original, random), dtype=torch.float32)
    expected = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)
    unmirrored = letterbox(original, size)
    for placement in (unmirrored, augmented):
        there = placement.boxes(torch.stack([normalised(box, original) for box in boxes]))
        back = placement.to_original_pixels(there.reshape(5, 10, 4))
        torch.testing.assert_close(back.reshape(50, 4), expected, atol=2e-3, rtol=0)


def test_the_way_back_clips_to_the_original():
    placement = letterbox((50, 100), (64, 64))
    boxes = torch.tensor([[0.5, 0.25, 3.0, 3.0], [0.5, 0.9, 0.1, 0.1], [0.0, 0.25, 0.5, 0.25]])
    expected = torch.tensor([[0.0, 0, 100, 50], [45.0, 50, 10, 0], [0.0, 12.5, 25, 25]])
    torch.testing.assert_close(placement.to_original_pixels(boxes), expected)


@pytest.mark.parametrize(("original", "size"), SIZES)
def test_boxes_stay_on_what_they_surround(original, size):
    random = np.random.RandomState(1)
    augmentation = Augmentation(scale=(0.6, 1.8))
    seen = 0
    for box in random_boxes(25, original, random):
        for placement in (letterbox(original, size), augmentation.place(original, size, random)):
            frame = placement.frame(placement.cut(draw(original, box)[None]))[0]
            clipped, visible = clip_boxes(placement.boxes(normalised(box, original)[None]), min_visible=0.1)
            if visible:
                seen += 1
                torch.testing.assert_close(edges(clipped[0], size), find(frame), atol=1.01, rtol=0)
    assert seen > 30


def test_black_and_only_black_lies_around_the_original():
    placement = Placement((40, 60), (64, 96), scale=1.2, left=10, top=-4, mirror=True)
    frame = placement.frame(placement.cut(draw((40, 60), (0, 0, 0, 0))[None]))[0]
    expected = torch.zeros(64, 96, dtype=torch.uint8)
    expected[:44, 14:86] = DARK
    assert (frame == expected).all()


def test_clip_boxes():
    boxes = torch.tensor(
        [
            [0.5, 0.5, 0.2, 0.2],  # inside
            [0.0, 0.5, 0.2, 0.2],  # half of it to the left
            [0.5, 1.09, 0.1, 0.2],  # 5 % of it within
            [0.5, 1.07, 0.1, 0.2],  # 15 % of it within
            [1.5, 0.5, 0.2, 0.2],  # outside
            [0.5, 0.5, 0.0, 0.2],  # empty
            [0.5, 0.5, 3.0, 3.0],  # 11 % of it is the whole frame
        ]
    )
    clipped, visible = clip_boxes(boxes, min_visible=0.1)
    assert visible.tolist() == [True, True, False, True, False, False, True]
    expected = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.05, 0.5, 0.1, 0.2], [0.5, 0.985, 0.1, 0.03], [0.5, 0.5, 1, 1]])
    torch.testing.assert_close(clipped[visible], expected)
    assert [part.shape for part in clip_boxes(torch.zeros(0, 4), 0.1)] == [(0, 4), (0,)]
