import numpy as np
import pytest
from moving_rectangle import MovingRectangle

from datamodules import SyntheticScenes
from scene_model.batch import TargetFrame


def test_annotations_are_those_of_the_targets():
    source = MovingRectangle((5, 3), size=(60, 80), start=(10, 12, 34, 30), velocity=(3, 1))
    truth = source.truth(1)
    assert truth.table.frames.tolist() == [0, 1, 2]
    assert truth.table.track_ids.tolist() == [101] * 3
    expected = [[10, 12, 24, 18], [13, 13, 24, 18], [16, 14, 24, 18]]
    assert truth.table.boxes == pytest.approx(np.array(expected), abs=1e-4), "left, top, width, height in pixels"
    assert truth.table.conf.tolist() == [1, 0, 1], "0 where a target is to be ignored"
    assert truth.rules.labels(truth.table.classes).tolist() == [1, 1, 1]
    assert truth.rules.distractor_ids == ()


def test_annotations_of_scenes():
    source = SyntheticScenes(num_scenes=2, num_frames=4, image_size=(64, 96))
    table = source.truth(1).table
    assert len(table) > 4
    for index in range(4):
        targets, rows = source.targets(1, index), table[table.frames == index]
        assert rows.track_ids.tolist() == targets.track_ids.tolist()
        centers = (rows.boxes[:, :2] + rows.boxes[:, 2:] / 2) / [96, 64]
        np.testing.assert_allclose(centers, targets.boxes[:, :2], atol=1e-6)
        np.testing.assert_allclose(rows.boxes[:, 2:] / [96, 64], targets.boxes[:, 2:], atol=1e-6)


def test_annotations_of_empty_frames():
    class Empty(MovingRectangle):
        def targets(self, sequence, index):
            return TargetFrame.empty() if index != 2 else super().targets(sequence, index)

    assert Empty((4,)).truth(0).table.frames.tolist() == [2]
    assert len(Empty((2,)).truth(0).table) == 0
