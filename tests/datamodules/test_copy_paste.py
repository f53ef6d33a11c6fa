"""Objects of another clip in front of a clip's own: pixels and boxes agree, and what is hidden is no longer told."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from moving_rectangle import MovingRectangle, draw, edges, normalised

from datamodules.augmentation import Augmentation
from datamodules.clips import ClipDataset, ClipRequest, ClipSampling
from datamodules.copy_paste import paste
from scene_model.batch import TargetFrame
from scene_model.errors import UserError

SIZE = (60, 80)


def clip(*tracks, colour=None):
    """Frames and targets of rectangles; each track is a list of boxes in pixels, None where it is not there."""
    frames, targets = [], []
    for time in range(len(tracks[0])):
        there = [(number, track[time]) for number, track in enumerate(tracks) if track[time] is not None]
        frame = torch.stack([draw(SIZE, box) for _, box in there]).amax(0) if there else draw(SIZE, (0, 0, 0, 0))
        frames.append(frame if colour is None else frame.where(frame < 100, torch.tensor(colour, dtype=torch.uint8)))
        boxes = torch.stack([normalised(box, SIZE) for _, box in there]) if there else torch.zeros(0, 4)
        ids = torch.tensor([number for number, _ in there], dtype=torch.int64)
        targets.append(TargetFrame(boxes, ids * 0, ids, torch.zeros(len(ids), dtype=torch.bool)))
    return torch.stack(frames), targets


def moving(left, top, width=16, height=20, step=3, frames=4):
    return [(left + step * time, top, left + step * time + width, top + height) for time in range(frames)]


def pasted(own, donor, seed, most=1):
    """The first draw from a seed on in which something is pasted."""
    while True:
        frames, targets = paste(*own, *donor, most, rng(seed))
        if not torch.equal(frames, own[0]):
            return frames, targets
        seed += 1


def rng(seed):
    return np.random.RandomState(seed)


def guests(target):
    return target[target.track_ids >= 1000]


@pytest.mark.parametrize("seed", range(0, 100, 10))
def test_boxes_are_where_the_pixels_are(seed):
    own, donor = clip(moving(30, 20)), clip(moving(5, 30, 14, 24, 4), colour=150)
    frames, targets = pasted(own, donor, seed)
    seen = 0
    for frame, target in zip(frames, targets, strict=True):
        rows, columns = (frame[0] == 150).nonzero(as_tuple=True)
        if not len(guests(target)):
            assert len(rows) < 20
            continue
        box = edges(guests(target).boxes[0], SIZE)
        painted = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert (painted[:2] >= box[:2] - 1).all()
        assert (painted[2:] <= box[2:] + 1).all()
        assert len(rows) > 0.4 * (box[2:] - box[:2]).prod()
        seen += 1
    assert seen


def test_a_guest_meets_an_object_and_moves_as_it_did():
    own, donor = clip(moving(30, 20)), clip(moving(5, 30, step=2))
    for seed in range(20):
        _, targets = pasted(own, donor, 100 * seed)
        centers = [(t, guests(target).boxes[0, 0].item()) for t, target in enumerate(targets) if len(guests(target))]
        inside = [(t, x) for t, x in centers if 0.15 < x < 0.85]
        for (t, x), (later, y) in pairwise(inside):
            assert (y - x) / (later - t) == pytest.approx(2 / SIZE[1], abs=0.01)
        distances = [
            (guests(target).boxes[0, :2] - target.boxes[0, :2]).abs() / target.boxes[0, 2:]
            for target in targets
            if len(guests(target)) and len(target) == 2
        ]
        assert any((distance < torch.tensor([1.05, 0.25])).all() for distance in distances) or len(distances) < 4


def test_a_guest_may_leave_the_frame():
    own, donor = clip(moving(70, 50, 8, 8, 0)), clip(moving(5, 5, 10, 10, 20, frames=4))
    numbers = {len(guests(target)) for seed in range(60) for target in paste(*own, *donor, 1, rng(seed))[1]}
    assert numbers == {0, 1}


def test_who_is_hidden_is_not_told_and_who_is_half_hidden_is():
    small, tall = moving(30, 25, 6, 6, 0), moving(20, 10, 40, 40, 0)
    hidden = half = 0
    for seed in range(40):
        _, targets = pasted(clip(small), clip(tall), 100 * seed)
        hidden += any(len(target) == len(guests(target)) == 1 for target in targets)
        _, targets = pasted(clip(tall), clip(small), 100 * seed)
        half += all((target.track_ids == 0).any() for target in targets)
    assert hidden > 5
    assert half == 40


def test_only_objects_that_are_whole_are_copied():
    gone, alone = [*moving(5, 30)[:3], None], moving(50, 5)
    crowded = moving(10, 10), moving(14, 12)
    cut_off = [*moving(5, 30)[:3], (0, 30, 9, 50)]
    own = clip(moving(30, 20))
    for donor in (clip(gone), clip(*crowded), clip(cut_off)):
        for seed in range(20):
            frames, targets = paste(*own, *donor, 3, rng(seed))
            assert torch.equal(frames, own[0])
            assert targets == own[1]
    numbers = {len(guests(target)) for s in range(40) for target in pasted(own, clip(gone, alone), 100 * s, 3)[1]}
    assert numbers <= {0, 1}


def test_nobody_is_pasted_beside_himself():
    own, donor = clip(moving(30, 20)), clip(moving(5, 30), moving(50, 5))
    for seed in range(20):
        assert torch.equal(paste(*own, *donor, 2, rng(seed), present={0, 1})[0], own[0])
    numbers = {len(guests(target)) for s in range(20) for target in paste(*own, *donor, 2, rng(s), present={0})[1]}
    assert numbers <= {0, 1}


def test_pictures_without_objects():
    empty, full = clip([None] * 4), clip(moving(5, 30))
    frames, targets = pasted(empty, full, 0)
    assert [len(target) for target in targets] == [1, 1, 1, 1]
    torch.testing.assert_close(targets[0].boxes, full[1][0].boxes)
    assert torch.equal(paste(*full, *empty, 3, rng(0))[0], full[0])
    assert not frames.equal(empty[0])


class WholeRectangle(MovingRectangle):
    def targets(self, sequence, index):
        target = super().targets(sequence, index)
        return replace(target, ignore=torch.zeros_like(target.ignore))


def test_in_a_data_set():
    def clips(paste, draws=30):
        sampling = ClipSampling(length=4, size=SIZE, augmentation=Augmentation(paste=paste, scale=(1, 1), reverse=0))
        return [ClipDataset(WholeRectangle((12, 12)), sampling)[ClipRequest(1, number)] for number in range(draws)]

    without, first, second = clips(0), clips(2), clips(2)
    assert all(torch.equal(one.frames, other.frames) for one, other in zip(first, second, strict=True))
    changed = [not torch.equal(one.frames, other.frames) for one, other in zip(without, first, strict=True)]
    assert 0 < sum(changed) <= 30
    for clip_ in first:
        assert clip_.frames.dtype == torch.uint8
        assert all(len(set(target.track_ids.tolist())) == len(target) for target in clip_.targets)


def test_a_clip_gets_nobody_of_its_own_sequence_whom_it_shows():
    def frames(paste):
        sampling = ClipSampling(length=4, size=SIZE, augmentation=Augmentation(paste=paste, scale=(1, 1), reverse=0))
        return [ClipDataset(WholeRectangle((24,)), sampling)[ClipRequest(1, number)].frames for number in range(20)]

    assert all(torch.equal(one, other) for one, other in zip(frames(0), frames(2), strict=True))


def test_a_negative_number_is_refused():
    with pytest.raises(UserError, match=r"data\.augmentation\.paste: expected a number >= 0, got -1"):
        Augmentation(paste=-1)
