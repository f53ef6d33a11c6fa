"""What comes to the host comes in one copy."""

import pytest
import torch
from test_device_copies import OnDevice

from scene_model.batch import SceneBatch, SequenceInfo, SequenceTruth, TargetFrame
from scene_model.host import to_host
from scene_model.metrics.detection import DetectionCollector
from scene_model.mot_rules import class_rules
from scene_model.tracking import LinkingConfig, VideoTracker, Window

SHAPE = (2, 4, 5)


class Away(OnDevice):
    """Says so, too."""

    is_cpu = False
    waits: list = []  # noqa: RUF012


@pytest.fixture(autouse=True)
def nothing_noted():
    Away.waits.clear()


def away(tensors):
    return {name: tensor.as_subclass(Away) for name, tensor in tensors.items()}


def make_outputs():
    torch.manual_seed(0)
    widths = {"bbox_center": 2, "bbox_size": 2, "exist_conf": 1, "cls_logits": 3, "embeddings": 6}
    return {name: torch.rand(*SHAPE, width) for name, width in widths.items()}


def make_batch(kind=torch.Tensor):
    info = SequenceInfo("A", 6, 48, 64, 30.0)
    padding = torch.tensor([[False] * 4, [False] * 3 + [True]])
    return SceneBatch(
        frames=torch.zeros(2, 4, 3, 48, 64).as_subclass(kind),
        targets=[[TargetFrame.empty()] * 4] * 2,
        padding_mask=padding.as_subclass(kind),
        sequences=[info] * 2,
        frame_indices=torch.tensor([[0, 1, 2, 3], [2, 3, 4, 4]]),
        seeds=torch.zeros(2, dtype=torch.int64),
        is_last=[False, True],
        truths=[None, SequenceTruth(None, class_rules("MOT15", ["thing"]))],
    )


def test_one_copy_of_everything_that_is_away():
    tensors = [torch.rand(2, 3), torch.arange(5), torch.rand(4, 0), torch.tensor(True), torch.rand(3).bfloat16()]
    here = torch.rand(2)
    found = to_host(*(tensor.as_subclass(Away) for tensor in tensors), here)
    assert Away.waits == ["cpu"]
    for tensor, same in zip([*tensors, here], found, strict=True):
        assert type(same) is torch.Tensor
        assert torch.equal(same, tensor.float())


def test_on_the_host_nothing_is_copied():
    tensor = torch.rand(3, requires_grad=True)
    assert to_host(tensor)[0].data_ptr() == tensor.data_ptr()
    assert not to_host(tensor)[0].requires_grad


def test_windows_wait_once_and_are_the_same():
    outputs, batch = make_outputs(), make_batch()
    expected = Window.of_outputs(outputs, batch.frame_indices, batch.padding_mask)
    found = Window.of_outputs(away(outputs), batch.frame_indices, batch.padding_mask.as_subclass(Away))
    assert Away.waits == ["cpu"]
    for window, same in zip(found, expected, strict=True):
        for name, column in vars(window).items():
            assert column.tolist() == getattr(same, name).tolist()


def test_tracking_a_batch_waits_once():
    tracks = VideoTracker(LinkingConfig()).update(make_batch(Away), away(make_outputs()))
    assert Away.waits == ["cpu"]
    assert sum(len(part.table) for part in tracks) > 0


def test_collecting_the_boxes_of_a_batch_waits_once():
    collector = DetectionCollector()
    collector.update(make_batch(Away), away(make_outputs()))
    assert Away.waits == ["cpu"]
    [frames] = collector.sequences
    assert frames.detected.counts.tolist() == [5] * 5
