import torch
from factories import frame_of

from scene_model.training.dense import dense_losses
from scene_model.training.targets import pack

CENTERS = torch.tensor([[x, y] for y in (0.125, 0.375, 0.625, 0.875) for x in (0.125, 0.375, 0.625, 0.875)])
OBJECT = [0.375, 0.375, 0.3, 0.3]


def terms(targets, boxes=None, logits=None, real=None, topk=2):
    boxes = torch.cat([CENTERS, torch.full((16, 2), 0.25)], 1)[None, None] if boxes is None else boxes
    logits = torch.zeros(1, 1, 16) if logits is None else logits
    real = torch.ones(1, 1, dtype=torch.bool) if real is None else real
    return dense_losses(boxes, logits, torch.zeros(1, 1, 16, 2), CENTERS, pack([targets]), real, topk)


def quality_gradient(targets, **options):
    """Where the existence loss pulls logits up: exactly the assigned tokens."""
    logits = torch.zeros(1, 1, 16, requires_grad=True)
    terms(targets, logits=logits, **options)["exist"].backward()
    return logits.grad[0, 0]


def test_a_token_on_the_object_learns_its_iou():
    gradient = quality_gradient([frame_of([OBJECT], [1])])
    overlap = 0.25**2 / 0.3**2
    torch.testing.assert_close(gradient[5], torch.tensor(0.5 - overlap))
    assert (gradient[torch.arange(16) != 5] == 0.5).all()


def test_an_object_between_the_tokens_gets_its_nearest():
    tiny = [0.26, 0.26, 0.02, 0.02]
    gradient = quality_gradient([frame_of([tiny], [1])])
    assert gradient.argmin() == 5


def test_a_token_wanted_by_two_objects_goes_to_the_one_that_it_overlaps_most():
    large, small = [0.5, 0.5, 0.9, 0.9], [0.375, 0.375, 0.6, 0.6]
    in_small = (CENTERS < 0.675).all(1)
    for order in ([large, small], [small, large]):
        boxes = torch.tensor(small).repeat(1, 1, 16, 1).requires_grad_()
        terms([frame_of(order, [1, 2])], boxes=boxes, topk=16)["l1"].backward()
        is_pulled = (boxes.grad[0, 0] != 0).all(1)  # a box at its target is not
        assert torch.equal(is_pulled, ~in_small)


def test_perfect_boxes_cost_nothing():
    boxes = torch.tensor(OBJECT).expand(1, 1, 16, 4)
    losses = terms([frame_of([OBJECT], [1])], boxes=boxes)
    assert losses["l1"] == 0
    assert losses["giou"] < 1e-5


def test_padding_and_ignored_regions_add_nothing():
    padded = terms([frame_of([], [])], real=torch.zeros(1, 1, dtype=torch.bool))
    assert all(value == 0 for value in padded.values())
    gradient = quality_gradient([frame_of([OBJECT], [1], ignore=[True])])
    assert gradient[5] == 0
    assert (gradient[[0, 10, 15]] == 0.5).all()
