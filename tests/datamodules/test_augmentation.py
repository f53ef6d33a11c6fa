import random

import numpy as np
import pytest
import torch
from moving_rectangle import MovingRectangle, edges, find
from torchvision.transforms.v2 import functional as F

from datamodules.augmentation import Augmentation
from datamodules.clips import ClipDataset, ClipRequest, ClipSampling
from scene_model.errors import UserError

NOTHING = Augmentation(flip=0, reverse=0, scale=(1, 1), brightness=0, contrast=0, saturation=0)


def clips(source, draws, augmentation=Augmentation(), size=(64, 96)):
    """The first window of a source under many draws."""
    dataset = ClipDataset(source, ClipSampling(length=4, size=size, augmentation=augmentation))
    return [dataset[ClipRequest(0, draw)] for draw in range(draws)]


@pytest.mark.parametrize("velocity", [(3, 1), (-6, 0)])
@pytest.mark.parametrize("original", [(60, 80), (120, 90), (30, 40)])
def test_boxes_stay_on_the_object(velocity, original):
    hidden = 0
    for clip in clips(MovingRectangle(size=original, velocity=velocity), 25, Augmentation(scale=(0.7, 2.0))):
        for frame, target in zip(clip.frames, clip.targets, strict=True):
            if len(target):
                torch.testing.assert_close(edges(target.boxes[0], (64, 96)), find(frame), atol=1.01, rtol=0)
            else:
                hidden += 1
    assert hidden < 50


def test_all_frames_of_a_clip_change_alike():
    drawn = clips(MovingRectangle(velocity=(0, 0)), 20)
    for clip in drawn:
        assert (clip.frames == clip.frames[:1]).all()
        assert len({tuple(target.boxes.flatten().tolist()) for target in clip.targets}) == 1
    assert len({clip.frames.numpy().tobytes() for clip in drawn}) == 20


def test_a_clip_is_a_function_of_its_draw():
    first = clips(MovingRectangle(), 3)
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    second = clips(MovingRectangle(), 3)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.frames, other.frames)
        assert one.seed == other.seed
        assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(one.targets, other.targets, strict=True))
    assert not torch.equal(first[0].frames, first[1].frames)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states[1:]


def test_nothing_to_change_changes_nothing():
    plain, same = clips(MovingRectangle(), 1, None, (60, 80)) + clips(MovingRectangle(), 1, NOTHING, (60, 80))
    assert torch.equal(plain.frames, same.frames)
    torch.testing.assert_close([t.boxes for t in plain.targets], [t.boxes for t in same.targets])
    assert plain.frame_indices.tolist() == same.frame_indices.tolist()


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_rates_of_flip_and_reverse(rate):
    dice = np.random.RandomState(0)
    augmentation = Augmentation(flip=rate)
    mirrored = np.mean([augmentation.place((60, 80), (64, 96), dice).mirror for _ in range(1000)])
    reversals = clips(MovingRectangle(), 150, Augmentation(reverse=rate), (16, 16))
    assert mirrored == pytest.approx(rate, abs=0.05 if 0 < rate < 1 else 0)
    backwards = np.mean([clip.frame_indices.tolist() == [3, 2, 1, 0] for clip in reversals])
    assert backwards == pytest.approx(rate, abs=0.12 if 0 < rate < 1 else 0)
    assert all(clip.frame_indices.tolist() == [0, 1, 2, 3] for clip in reversals) or rate > 0


def test_places_cover_the_range_of_scales_and_the_free_space():
    dice, augmentation = np.random.RandomState(0), Augmentation(scale=(0.5, 2.0))
    placements = [augmentation.place((60, 80), (60, 80), dice) for _ in range(500)]
    scales = np.array([placement.scale for placement in placements])
    assert 0.5 <= scales.min() < 0.52
    assert 1.95 < scales.max() <= 2.0
    assert np.mean(scales < 1) == pytest.approx(0.5, abs=0.07)
    for placement in placements:
        for offset, outer, inner in zip((placement.top, placement.left), (60, 80), placement.scaled, strict=True):
            assert min(0, outer - inner) <= offset <= max(0, outer - inner)
    shifts = [p.left / (80 - p.scaled[1]) for p in placements if p.scaled[1] not in range(75, 86)]
    assert np.histogram(shifts, bins=4, range=(0, 1))[0].min() > 80


class Loaded:
    """Dice that fall as told."""

    def __init__(self, *values):
        self.values = list(values)

    def uniform(self, low, high):
        value = self.values.pop(0)
        assert low <= value <= high
        return value


@pytest.mark.parametrize("changes", [(0.2, 0, 0), (-0.3, 0, 0), (0, 0.3, 0), (0, -0.3, 0), (0, 0, 0.3), (0, 0, -0.3)])
@pytest.mark.parametrize("more", [(0, 0, 0), (0.1, -0.2, 0.15)])
def test_colours_change_as_torchvision_changes_them(changes, more):
    frame = torch.randint(70, 170, (1, 3, 40, 50), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    factors = [change or extra for change, extra in zip(changes, more, strict=True)]
    brightness, contrast, saturation = (1 + factor for factor in factors)
    expected = F.adjust_contrast(F.adjust_brightness(frame / 255, brightness), contrast)
    expected = 255 * F.adjust_saturation(expected, saturation)
    found = Augmentation().recolour(frame, Loaded(*factors))
    assert found.dtype == torch.uint8
    assert (found - expected).abs().max() <= 1
    assert not torch.equal(found, frame)


def test_colours_change_alike_in_frames_of_different_brightness():
    dark, bright = torch.full((3, 8, 8), 20, dtype=torch.uint8), torch.full((3, 8, 8), 230, dtype=torch.uint8)
    dark[:, 0, 0] = bright[:, 0, 0] = 100
    found = Augmentation().recolour(torch.stack([dark, bright]), Loaded(0.1, -0.3, 0.0))
    assert torch.equal(found[0, :, 0, 0], found[1, :, 0, 0])
    mean = 1.1 * (20 * 63 + 230 * 63 + 200) / 128
    assert found[0, 0, 0, 0] == pytest.approx(0.7 * 110 + 0.3 * mean, abs=1)


def test_black_around_the_original_stays_black():
    for clip in clips(MovingRectangle(), 10, Augmentation(flip=0, scale=(0.5, 0.5), contrast=0.9), size=(60, 80)):
        black = (clip.frames == 0).all(dim=1)
        assert black.sum(dim=(1, 2)).tolist() == [60 * 80 - 30 * 40] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": 1.5}, "data.augmentation.flip: expected a probability, got 1.5"),
        ({"reverse": -1}, "data.augmentation.reverse: expected a probability, got -1"),
        ({"contrast": 1}, r"data.augmentation.contrast: expected a share in \[0, 1\), got 1"),
        ({"scale": (1.3, 0.8)}, r"data.augmentation.scale: expected 0 < least <= largest, got \[1.3, 0.8\]"),
        ({"scale": (0, 1)}, "data.augmentation.scale"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        Augmentation(**options)
