import itertools

import pytest
import torch
from factories import random_targets
from torchvision.ops import box_convert, generalized_box_iou

from scene_model.config import LossConfig
from scene_model.training.matching import assign, matching_cost
from scene_model.training.targets import pack


def random_outputs(layers, clips, frames, queries, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(layers, clips, frames, queries, *shape, generator=generator)

    return rand(4) * 0.5 + 0.2, rand() * 4 - 2, rand(classes)


def loop_cost(boxes, exist, cls, targets, weights):
    """The definition, pair by pair, straight from the annotations of one clip."""
    tracks = sorted({int(i) for frame in targets for i in frame.track_ids})
    cost = torch.zeros(boxes.shape[1], len(tracks))
    for query, (column, track) in itertools.product(range(boxes.shape[1]), enumerate(tracks)):
        terms = []
        for time, frame in enumerate(targets):
            for row in (frame.track_ids == track).nonzero().flatten():
                box, truth = boxes[time, query], frame.boxes[row]
                corners = (box_convert(x[None], "cxcywh", "xyxy") for x in (box, truth))
                giou = generalized_box_iou(*corners)[0, 0]
                score = 2 * exist[time, query].sigmoid()
                probability = cls[time, query].softmax(-1)[frame.labels[row]]
                terms.append(
                    weights.l1 * (box - truth).abs().sum()
                    - weights.giou * giou
                    - weights.cls * probability
                    - weights.exist * score
                )
        cost[query, column] = torch.stack(terms).mean()
    return tracks, cost


def test_batched_cost_is_the_definition():
    targets, weights = random_targets(2, 3, seed=1), LossConfig()
    boxes, exist, cls = random_outputs(2, 2, 3, 5)
    packed = pack(targets)
    cost = matching_cost(boxes, exist, cls, packed, weights)
    for layer, clip in itertools.product(range(2), range(2)):
        tracks, expected = loop_cost(boxes[layer, clip], exist[layer, clip], cls[layer, clip], targets[clip], weights)
        assert packed.num_objects[clip] == len(tracks)
        torch.testing.assert_close(cost[layer, clip, :, : len(tracks)], expected, atol=1e-5, rtol=1e-4)


def test_assignment_is_the_cheapest_one():
    cost = torch.rand(2, 3, 4, 3, generator=torch.Generator().manual_seed(0))
    counts = torch.tensor([3, 2, 0])
    objects = assign(cost, counts)
    for layer, clip in itertools.product(range(2), range(3)):
        count, got = int(counts[clip]), objects[layer, clip]
        assert sorted(got[got >= 0].tolist()) == list(range(count))
        paid = sum(cost[layer, clip, q, o] for q, o in enumerate(got.tolist()) if o >= 0)
        choices = itertools.permutations(range(4), count)
        best = min(sum(cost[layer, clip, q, o] for o, q in enumerate(choice)) for choice in choices)
        assert paid == pytest.approx(float(best))


def test_permuting_queries_permutes_the_assignment():
    cost = torch.rand(1, 1, 5, 3)
    order = torch.randperm(5)
    counts = torch.tensor([3])
    assert torch.equal(assign(cost[:, :, order], counts), assign(cost, counts)[:, :, order])


def test_more_objects_than_queries():
    objects = assign(torch.rand(1, 1, 2, 5), torch.tensor([5]))
    assert (objects >= 0).all()
    assert objects[0, 0, 0] != objects[0, 0, 1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_went_wrong_never_reach_the_solver(bad):
    targets = random_targets(1, 2, seed=1)
    boxes, exist, cls = random_outputs(1, 1, 2, 5)
    boxes[0, 0, 0, 1] = bad
    cost = matching_cost(boxes, exist, cls, pack(targets), LossConfig())
    assert torch.isfinite(cost).all()
    assign(cost, pack(targets).num_objects)
