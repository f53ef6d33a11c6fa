"""Boxes without area, outside of the frame, absurdly large, or all the same: values and gradients stay finite."""

import numpy as np
import pytest
import torch
from factories import frame_of, random_targets, small_config

from scene_model.boxes import inverse_sigmoid, iou, iou_and_giou
from scene_model.config import LossConfig
from scene_model.heads import BBoxHead
from scene_model.training import matching
from scene_model.training.dense import dense_losses
from scene_model.training.head_adapter import HeadAdapter
from scene_model.training.matching import matching_cost
from scene_model.training.targets import QueryTargets, pack

BOXES = {
    "ordinary": [0.5, 0.5, 0.2, 0.3],
    "a point": [0.5, 0.5, 0.0, 0.0],
    "a point in the corner": [0.0, 0.0, 0.0, 0.0],
    "a line": [0.5, 0.5, 0.0, 0.3],
    "tiny": [0.5, 0.5, 1e-20, 1e-20],
    "the whole frame": [0.5, 0.5, 1.0, 1.0],
    "outside of the frame": [1.7, -0.8, 0.2, 0.3],
    "far away": [1e6, -1e6, 0.2, 0.3],
    "huge": [0.5, 0.5, 1e6, 1e6],
    "inside out": [0.5, 0.5, -0.2, 0.3],
}
PREDICTED = torch.tensor(list(BOXES.values()))


@pytest.mark.parametrize("name", BOXES)
def test_overlaps_with_every_other_box(name):
    boxes = PREDICTED.clone().requires_grad_()
    other = torch.tensor(BOXES[name])
    overlap, giou = iou_and_giou(boxes, other)
    torch.testing.assert_close(overlap, iou(boxes, other))
    proper = (PREDICTED[:, 2:] >= 0).all(-1) & (other[2:] >= 0).all()
    assert ((overlap >= 0) & (overlap <= 1))[proper].all()
    assert ((giou >= -1) & (giou <= 1))[proper].all()
    (overlap.sum() + giou.sum()).backward()
    assert overlap.isfinite().all()
    assert giou.isfinite().all()
    assert boxes.grad.isfinite().all()


def test_values_that_are_known():
    ordinary, point, whole, outside = (
        torch.tensor(BOXES[name]) for name in ("ordinary", "a point", "the whole frame", "outside of the frame")
    )
    assert iou_and_giou(ordinary, ordinary)[1].item() == pytest.approx(1, abs=1e-4)
    assert iou(point, whole).item() == 0
    assert iou_and_giou(point, whole)[1].item() == pytest.approx(0, abs=1e-4)
    assert iou_and_giou(outside, ordinary)[1].item() < -0.8


def targets_of(*names):
    boxes = [BOXES[name] for name in names]
    return [frame_of(boxes, list(range(len(boxes))))] * 2


@pytest.mark.parametrize(
    "truth", [["a point", "tiny", "a line"], ["ordinary"] * 3, ["outside of the frame", "far away"]]
)
def test_losses_have_finite_gradients(truth):
    packed, queries = pack([targets_of(*truth)]), len(BOXES)
    boxes = PREDICTED.expand(1, 2, -1, -1).clone().requires_grad_()
    logits = torch.zeros(1, 2, queries, requires_grad=True)
    cls = torch.zeros(1, 2, queries, 3, requires_grad=True)
    real = torch.ones(1, 2, dtype=torch.bool)
    cost = matching_cost(boxes[None], logits[None], cls[None], packed, LossConfig())
    assert cost.isfinite().all()
    assert cost.abs().max() < 1e8
    dense = dense_losses(boxes, logits, cls, PREDICTED[:, :2], packed, real, topk=4)
    every = torch.ones(1, 2, queries, dtype=torch.bool)
    truth_boxes = packed.boxes.transpose(1, 2)[:, :, :1].expand(-1, -1, queries, -1)
    labels = torch.zeros(1, queries, dtype=torch.int64)
    head = BBoxHead().loss(
        {"boxes": boxes, "exist_logits": logits[..., None], "cls_logits": cls},
        QueryTargets(truth_boxes, labels, every, every),
    )
    total = sum(term.sum() for term in (*dense.values(), *head.values()))
    total.backward()
    assert total.isfinite()
    for tensor in (boxes, logits, cls):
        assert tensor.grad.isfinite().all()


def outputs_of(boxes):
    """Model outputs [1, 2, Q] of two layers that say this."""
    layers = torch.tensor(boxes).expand(2, 1, 2, -1, -1).clone()
    queries = layers.shape[3]
    exist = inverse_sigmoid(torch.full((2, 1, 2, queries, 1), 0.5))
    return {
        "layer_boxes": layers,
        "layer_exist_logits": exist,
        "layer_cls_logits": torch.zeros(2, 1, 2, queries, 3),
        "exist_conf": exist[-1].sigmoid(),
        "enc_boxes": torch.full((1, 2, 4, 4), 0.5),
        "enc_exist_logits": torch.zeros(1, 2, 4),
        "enc_cls_logits": torch.zeros(1, 2, 4, 3),
        "enc_centers": torch.rand(4, 2),
    }


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("key", ["layer_boxes", "layer_exist_logits", "layer_cls_logits"])
@pytest.mark.parametrize("everywhere", [True, False])
def test_what_the_solver_gets_is_finite(key, bad, everywhere, monkeypatch):
    solved, solve = [], matching.linear_sum_assignment

    def spy(cost):
        solved.append(cost)
        return solve(cost)

    monkeypatch.setattr(matching, "linear_sum_assignment", spy)
    outputs = outputs_of([BOXES["ordinary"]] * 5)
    outputs[key][(...) if everywhere else (0, 0, 0, 1, 0)] = bad
    losses = HeadAdapter(small_config()).compute_loss(outputs, random_targets(1, 2, seed=1), torch.zeros(1, 2).bool())
    assert len(solved) == 2
    assert all(np.isfinite(cost).all() for cost in solved)
    assert not everywhere or not losses["total"].isfinite(), "the loss says so"
