"""Average precision of the network's boxes: which frames, boxes and objects count."""

import pickle

import pytest
import torch

from scene_model.batch import SceneBatch, SequenceInfo, SequenceTruth, TargetFrame
from scene_model.metrics.detection import MAX_BOXES, DetectionCollector, average_precision
from scene_model.mot_rules import class_rules

HEIGHT, WIDTH = 64, 128
TRUTH = SequenceTruth(table=None, rules=class_rules("MOT15", ["thing"]))  # only whether there is one matters here
BOX = [0.5, 0.25, 0.25, 0.5]


def target(boxes=(BOX,), labels=None, ignore=None):
    count = len(boxes)
    return TargetFrame(
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        torch.tensor(labels or [0] * count, dtype=torch.int64),
        torch.arange(count),
        torch.tensor(ignore or [False] * count, dtype=torch.bool),
    )


def window(targets, frames, padding=0, is_last=False, truth=TRUTH, name="A"):
    length = len(frames)
    return SceneBatch(
        frames=torch.zeros(1, length, 3, HEIGHT, WIDTH),
        targets=[targets],
        padding_mask=torch.tensor([[time >= length - padding for time in range(length)]]),
        sequences=[SequenceInfo(name, 100, 480, 640, 30.0)],
        frame_indices=torch.tensor([frames]),
        seeds=torch.zeros(1, dtype=torch.int64),
        is_last=[is_last],
        truths=[truth if is_last else None],
    )


def outputs(boxes, scores, labels=None):
    """Of one clip, from lists ``[T][Q]``."""
    boxes, scores = torch.tensor([boxes]), torch.tensor([scores])[..., None]
    labels = torch.zeros(scores.shape[:-1], dtype=torch.int64) if labels is None else torch.tensor([labels])
    logits = torch.nn.functional.one_hot(labels, 2).float()
    return {"bbox_center": boxes[..., :2], "bbox_size": boxes[..., 2:], "exist_conf": scores, "cls_logits": logits}


def frames_of(collector):
    """Pairs of what is detected and what is there."""
    sides = ((part.detected.split(), part.annotated.split()) for part in collector.sequences)
    return [pair for side in sides for pair in zip(*side, strict=True)]


def collected(batch, output):
    collector = DetectionCollector()
    collector.update(batch, output)
    return collector


def one_frame(targets, boxes, scores, labels=None):
    return collected(window([targets], [0], is_last=True), outputs([boxes], [scores], [labels] if labels else None))


def precision(collector):
    return average_precision(collector.sequences)


def test_boxes_are_in_pixels_of_the_models_frame():
    ((detected, annotated),) = frames_of(one_frame(target(), [BOX], [0.9]))
    expected = torch.tensor([[64.0, 16.0, 32.0, 32.0]])
    torch.testing.assert_close(detected["boxes"], expected)
    torch.testing.assert_close(annotated["boxes"], expected)


def test_a_frame_counts_in_the_first_window_that_holds_it():
    collector = DetectionCollector()
    for frames, score, is_last in (([0, 1, 2], 0.8, False), ([1, 2, 3], 0.6, True)):
        collector.update(window([target()] * 3, frames, is_last=is_last), outputs([[BOX]] * 3, [[score]] * 3))
    assert [round(float(detected["scores"]), 1) for detected, _ in frames_of(collector)] == [0.8, 0.8, 0.8, 0.6]


def test_padding_does_not_count():
    batch = window([target(), target(()), target(())], [0, 0, 0], padding=2, is_last=True)
    assert len(frames_of(collected(batch, outputs([[BOX]] * 3, [[0.9]] * 3)))) == 1
    blank = window([target(())] * 2, [0, 0], padding=2)
    assert collected(blank, outputs([[BOX]] * 2, [[0.9]] * 2)).sequences == []


def test_a_sequence_counts_when_it_has_ended_with_a_truth():
    seen = outputs([[BOX]], [[0.9]])
    assert collected(window([target()], [0]), seen).sequences == []
    assert collected(window([target()], [0], is_last=True, truth=None), seen).sequences == []
    assert len(frames_of(collected(window([target()], [0], is_last=True), seen))) == 1


def test_sequences_are_kept_apart():
    collector = DetectionCollector()
    for frames, name, is_last in (([0, 1], "A", False), ([0, 1], "B", True), ([1, 2], "A", True)):
        batch = window([target()] * 2, frames, is_last=is_last, name=name)
        collector.update(batch, outputs([[BOX]] * 2, [[0.9]] * 2))
    assert [len(part.detected.counts) for part in collector.sequences] == [2, 3]


def test_only_the_best_finite_boxes_are_kept():
    count = MAX_BOXES + 20
    scores = [(index + 1) / count for index in range(count)]
    ((detected, _),) = frames_of(one_frame(target(), [BOX] * count, scores))
    assert sorted(detected["scores"].tolist()) == pytest.approx(scores[-MAX_BOXES:])
    odd = [BOX, [float("nan")] * 4, BOX, BOX]
    ((detected, _),) = frames_of(one_frame(target(), odd, [0.9, 0.8, float("nan"), 0.001]))
    assert detected["scores"].tolist() == pytest.approx([0.9])


def test_what_is_kept_does_not_hold_on_to_the_batch():
    frames = target([BOX] * 100)
    ((_, annotated),) = frames_of(one_frame(frames, [BOX], [0.9]))
    for name, tensor in annotated.items():
        assert tensor.untyped_storage().data_ptr() != getattr(frames, name, frames.ignore).untyped_storage().data_ptr()


def test_what_processes_send_each_other_is_little_more_than_the_numbers():
    collector, seen = DetectionCollector(), outputs([[BOX]] * 2, [[0.9]] * 2)
    for start in range(0, 200, 2):
        collector.update(window([target(), target(())], [start, start + 1], is_last=start == 198), seen)
    assert [len(annotated["boxes"]) for _, annotated in frames_of(collector)] == [1, 0] * 100
    assert len(pickle.dumps(collector.sequences)) / 200 < 100


@pytest.fixture
def coco():
    pytest.importorskip("faster_coco_eval", reason="the extra [coco] is not installed")


@pytest.mark.usefixtures("coco")
class TestAveragePrecision:
    AWAY = (0.1, 0.1, 0.1, 0.1)

    def test_perfect(self):
        assert precision(one_frame(target(), [BOX], [0.9])) == {"map": 1, "map_50": 1}

    def test_a_box_that_is_partly_right(self):
        shifted = [BOX[0], BOX[1], BOX[2], BOX[3] * 0.62]
        scores = precision(one_frame(target(), [shifted], [0.9]))
        assert scores == pytest.approx({"map": 0.3, "map_50": 1}, abs=1e-6)  # IoU 0.62 reaches 3 of 10 thresholds

    def test_a_better_box_elsewhere_halves_it(self):
        scores = precision(one_frame(target(), [BOX, self.AWAY], [0.5, 0.9]))
        assert scores["map_50"] == pytest.approx(0.5)

    def test_wrong_class(self):
        assert precision(one_frame(target(), [BOX], [0.9], [1]))["map"] == 0

    def test_nothing_detected(self):
        assert precision(one_frame(target(), [BOX], [0.0])) == {"map": 0, "map_50": 0}

    def test_ignored_objects_count_neither_way(self):
        annotated = target([BOX, list(self.AWAY)], ignore=[False, True])
        assert precision(one_frame(annotated, [BOX, self.AWAY], [0.5, 0.9]))["map"] == pytest.approx(1)
        assert precision(one_frame(annotated, [BOX], [0.5]))["map"] == pytest.approx(1)

    def test_nothing_to_find_is_no_score(self):
        assert precision(one_frame(target(()), [BOX], [0.9])) == {}
        assert precision(one_frame(target(ignore=[True]), [BOX], [0.9])) == {}
