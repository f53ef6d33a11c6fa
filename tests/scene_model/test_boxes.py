import pytest
import torch
from torchvision.ops import box_convert, box_iou, generalized_box_iou

from scene_model.boxes import covered, inverse_sigmoid, iou, iou_and_giou, to_xyxy


@pytest.fixture(params=[1.0, 1e-3], ids=["large", "of a pixel"])
def pairs(request):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(count, 4, generator=generator) * request.param for count in (20, 30))


def test_parity_with_torchvision(pairs):
    a, b = pairs
    corners = [box_convert(boxes, "cxcywh", "xyxy") for boxes in pairs]
    torch.testing.assert_close(to_xyxy(a), corners[0])
    torch.testing.assert_close(iou(a[:, None], b[None]), box_iou(*corners), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        iou_and_giou(a[:, None], b[None])[1], generalized_box_iou(*corners), atol=1e-5, rtol=1e-4
    )


def test_covered_is_the_intersection_by_the_own_area(pairs):
    a, b = pairs
    union_share = iou(a[:, None], b)
    areas, others = a[:, 2:].prod(-1)[:, None], b[:, 2:].prod(-1)
    intersection = union_share * (areas + others) / (1 + union_share)
    torch.testing.assert_close(covered(a[:, None], b), intersection / areas, atol=1e-4, rtol=1e-3)
    assert covered(torch.tensor([0.5, 0.5, 0.0, 0.2]), torch.tensor([0.5, 0.5, 1.0, 1.0])) == 0


@pytest.mark.parametrize(
    "box", [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 1e-9, 1.0], [2.0, 2.0, 0.1, 0.1], [0.5, 0.5, 1.0, 1.0]]
)
def test_degenerate_boxes_stay_finite_with_gradients(box):
    a = torch.tensor(box, requires_grad=True)
    overlap, giou = iou_and_giou(a, a.detach().clone())
    assert torch.isfinite(overlap)
    assert -1 <= giou <= 1
    giou.backward()
    assert torch.isfinite(a.grad).all()


def test_inverse_sigmoid_inverts_and_survives_the_ends():
    values = torch.linspace(0.01, 0.99, 50)
    torch.testing.assert_close(inverse_sigmoid(values).sigmoid(), values)
    assert torch.isfinite(inverse_sigmoid(torch.tensor([0.0, 1.0]))).all()
