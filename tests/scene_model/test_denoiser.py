import pytest
import torch
from factories import frame_of, random_targets

from scene_model.batch import TargetFrame
from scene_model.boxes import iou
from scene_model.config import DenoiserConfig
from scene_model.network.denoising import attention_mask
from scene_model.training.denoiser import DinoDenoiser
from scene_model.training.targets import pack


def make(targets, seeds=None, num_classes=3, **options):
    config = DenoiserConfig(**({"num_queries": 16, "max_groups": 3} | options))
    return DinoDenoiser(config, num_classes).make_noise(targets, seeds)


def test_groups_of_positives_and_negatives_fill_the_budget():
    clip = [frame_of([[0.3, 0.3, 0.1, 0.1], [0.6, 0.6, 0.2, 0.2]], [1, 2])] * 2
    state = make([clip], num_queries=14)
    assert state.group.tolist() == [[1] * 4 + [2] * 4 + [3] * 4 + [-1] * 2]
    assert state.objects.tolist() == [[0, 1, -1, -1] * 3 + [-1] * 2]
    assert state.num_groups.tolist() == [3]


@pytest.mark.parametrize("count", [0, 1, 5, 8, 30])
def test_the_number_of_queries_is_fixed(count):
    boxes = [[0.5, 0.5, 0.1, 0.1]] * count
    state = make([[frame_of(boxes, list(range(count)))]])
    assert state.boxes.shape == (1, 1, 16, 4)
    positives = state.objects[state.objects >= 0]
    assert len(positives.unique()) == min(count, 8)


def test_the_seed_says_who_takes_part_where_not_all_fit():
    boxes = [[0.5, 0.5, 0.1, 0.1]] * 20
    states = make([[frame_of(boxes, list(range(20)))]] * 40, torch.arange(40))
    assert set(states.objects.flatten().tolist()) == set(range(-1, 20))


def test_noise_is_a_function_of_the_clip_alone():
    targets = random_targets(3, 4)
    seeds = torch.tensor([5, 6, 7])
    together = make(targets, seeds)
    torch.manual_seed(1234)
    alone = make(targets[1:2], seeds[1:2])
    for name in ("boxes", "labels", "objects", "group", "num_groups"):
        assert torch.equal(getattr(together, name)[1:2], getattr(alone, name)), name
    assert not torch.equal(make(targets, seeds + 1).boxes, together.boxes)
    assert torch.equal(make(targets).boxes, make(targets).boxes)


def test_positives_stay_nearer_than_negatives():
    clip = [frame_of([[0.5, 0.5, 0.2, 0.2]], [1])] * 4
    states = make([clip] * 200, torch.arange(200), num_queries=2, box_noise=0.8)
    overlap = iou(states.boxes, torch.tensor([0.5, 0.5, 0.2, 0.2]))
    positive, negative = overlap[:, :, 0], overlap[:, :, 1]
    assert positive.mean() > 0.5 > 0.35 > negative.mean()
    assert (positive > 0.1).all()


def test_noise_is_common_to_the_clip_up_to_a_share():
    clip = [frame_of([[0.5, 0.5, 0.2, 0.2]], [1])] * 4
    fixed = make([clip], torch.tensor([3]), frame_noise=0.0).boxes[:, :, :6]
    assert torch.equal(fixed, fixed[:, :1].expand_as(fixed))
    moving = make([clip], torch.tensor([3]), frame_noise=0.5).boxes[:, :, :6]
    assert not torch.equal(moving, moving[:, :1].expand_as(moving))


def test_label_noise_has_the_asked_rate():
    clip = [frame_of([[0.5, 0.5, 0.2, 0.2]], [1], [1])]
    labels = make([clip] * 500, torch.arange(500), label_noise=0.6).labels
    assert (labels != 1).float().mean() == pytest.approx(0.6 * 2 / 3, abs=0.03)
    assert labels.max() < 3


def test_attention_mask_keeps_groups_apart():
    state = make(random_targets(2, 2))
    mask = attention_mask(torch.cat([torch.zeros(len(state.group), 5, dtype=torch.int64), state.group], dim=1))
    assert mask.shape == (2, 21, 21)
    assert mask[:, :5, :5].all()
    assert not mask[:, :5, 5:].any()
    for clip in range(2):
        group = state.group[clip]
        same = (group[:, None] == group[None]) & (group > 0)[:, None] | torch.eye(16, dtype=torch.bool)
        assert torch.equal(mask[clip, 5:, 5:], same)
        assert torch.equal(mask[clip, 5:, :5], (group > 0)[:, None].expand(-1, 5))
    assert mask.any(-1).all()


def test_without_objects_and_switched_off():
    state = make([[TargetFrame.empty()] * 2])
    assert (state.group == -1).all()
    assert torch.isfinite(state.boxes).all()
    assert DinoDenoiser(None).make_noise([[TargetFrame.empty()]]) is None


def test_objects_are_rows_of_the_packed_targets():
    targets = random_targets(2, 3, seed=5)
    packed, state = pack(targets), make(targets, box_noise=0.0, label_noise=0.0)
    for clip in range(2):
        for slot, row in enumerate(state.objects[clip].tolist()):
            if row >= 0:
                torch.testing.assert_close(state.boxes[clip, :, slot], packed.boxes[clip, row])
                assert state.labels[clip, slot] == packed.labels[clip, row]
