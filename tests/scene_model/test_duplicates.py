"""A query that overlaps a better one is told so, and nothing else is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from scene_model.network.duplicates import DuplicateSuppression, _overlap_with_better


def queries(num_queries: int = 6, num_frames: int = 3) -> tuple[Tensor, Tensor]:
    """Existence logits and overlapping boxes of two clips."""
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(2, num_frames, num_queries, 4, generator=generator) * 0.4 + 0.3
    return torch.randn(2, num_frames, num_queries, 1, generator=generator), boxes


def trained() -> DuplicateSuppression:
    module = DuplicateSuppression()
    torch.nn.init.normal_(module.shift[-1].weight, generator=torch.Generator().manual_seed(1))
    return module


def test_only_the_worse_of_two_overlapping_queries_is_told() -> None:
    box = torch.tensor([0.5, 0.5, 0.2, 0.2])
    boxes = torch.stack([box, box, box + torch.tensor([0.4, 0, 0, 0])]).expand(1, 2, 3, 4)
    logits = torch.tensor([1.0, 2.0, 0.0]).view(1, 1, 3, 1).expand(1, 2, 3, 1)
    told = _overlap_with_better(logits, boxes, None, None)
    assert told[0, :, :, 0].tolist() == [pytest.approx([1, 0, 0], abs=1e-4)] * 2
    assert told[0, :, :, 1].tolist() == [pytest.approx([1, 0, 0], abs=1e-4)] * 2


def test_overlap_in_one_frame_is_told_apart_from_overlap_all_along() -> None:
    here, there = torch.tensor([0.3, 0.5, 0.2, 0.2]), torch.tensor([0.7, 0.5, 0.2, 0.2])
    boxes = torch.stack([torch.stack([here, here]), torch.stack([here, there])])[None]  # they part in frame 1
    logits = torch.tensor([1.0, 0.0]).view(1, 1, 2, 1).expand(1, 2, 2, 1)
    told = _overlap_with_better(logits, boxes, None, None)
    assert told[0, :, 1, 0].tolist() == pytest.approx([0.5, 0.5], abs=1e-4)
    assert told[0, :, 1, 1].tolist() == pytest.approx([1, 0], abs=1e-4)


def test_untrained_it_changes_nothing() -> None:
    logits, boxes = queries()
    assert torch.equal(DuplicateSuppression()(logits, boxes, None, None), logits)


def test_the_order_of_the_queries_does_not_matter() -> None:
    logits, boxes = queries()
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    module = trained()
    straight, permuted = module(logits, boxes, None, None), module(logits[:, :, order], boxes[:, :, order], None, None)
    assert not torch.allclose(straight, logits)
    torch.testing.assert_close(straight[:, :, order], permuted)


def test_padding_has_no_say() -> None:
    logits, boxes = queries()
    module = trained()
    padding = torch.tensor([[False, False, True]] * 2)
    padded = module(logits, boxes, None, padding)
    changed_logits, changed_boxes = logits.clone(), boxes.clone()
    changed_logits[:, 2], changed_boxes[:, 2] = 9.0, 0.5
    torch.testing.assert_close(padded[:, :2], module(logits[:, :2], boxes[:, :2], None, None))
    torch.testing.assert_close(padded[:, :2], module(changed_logits, changed_boxes, None, padding)[:, :2])


def test_only_queries_that_see_each_other_are_rivals() -> None:
    logits, boxes = queries()
    module = trained()
    mask = torch.eye(6, dtype=torch.bool).expand(2, 6, 6).clone()
    mask[:, :4, :4] = True
    mask[:, 4:, :4] = True  # the last two see the first four, which do not see them
    torch.testing.assert_close(
        module(logits, boxes, mask, None)[:, :, :4], module(logits[:, :, :4], boxes[:, :, :4], None, None)
    )
    torch.testing.assert_close(module(logits, boxes, mask, None)[:, :, 4], untold(module, logits)[:, :, 4])


def untold(module: DuplicateSuppression, logits: Tensor) -> Tensor:
    """What becomes of logits whose queries overlap nothing."""
    return logits + module.shift(torch.zeros(*logits.shape[:3], 2))


def test_training_reaches_it_and_leaves_the_boxes_alone() -> None:
    logits, boxes = (values.requires_grad_() for values in queries())
    module = trained()
    module(logits, boxes, None, None).sum().backward()
    assert boxes.grad is None
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_it_is_exact_under_autocast() -> None:
    logits, boxes = queries()
    module = trained()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = module(logits, boxes, None, None)
    assert torch.equal(under_autocast, module(logits, boxes, None, None))
