from itertools import pairwise

import numpy as np
import pytest
import torch

from scene_model.tracking import Window, window_starts


@pytest.mark.parametrize("num_frames", range(24))
@pytest.mark.parametrize(("length", "overlap"), [(1, 0), (4, 0), (4, 1), (4, 3), (8, 2)])
def test_windows_cover_every_frame_and_each_adds_one(num_frames, length, overlap):
    windows = [
        set(range(start, min(start + length, num_frames))) for start in window_starts(num_frames, length, overlap)
    ]
    assert set().union(*windows) == set(range(num_frames))
    assert all(windows)
    for window, following in pairwise(windows):
        assert len(window & following) == overlap
        assert following - window


@pytest.mark.parametrize(("length", "overlap"), [(2, 2), (1, 3), (4, -1)])
def test_windows_that_do_not_advance(length, overlap):
    with pytest.raises(ValueError, match=f"windows of {length} frames can share 0 to {length - 1} of them"):
        window_starts(10, length, overlap)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_windows_of_outputs(dtype):
    torch.manual_seed(0)
    shape = (2, 4, 5)
    outputs = {
        "bbox_center": torch.rand(*shape, 2, dtype=dtype, requires_grad=True),
        "bbox_size": torch.rand(*shape, 2, dtype=dtype),
        "exist_conf": torch.rand(*shape, 1, dtype=dtype),
        "cls_logits": torch.randn(*shape, 3, dtype=dtype),
        "embeddings": torch.randn(*shape, 6, dtype=dtype),
    }
    frame_indices = torch.tensor([[0, 1, 2, 3], [2, 3, 4, 4]])
    padding_mask = torch.tensor([[False] * 4, [False] * 3 + [True]])
    whole, padded = Window.of_outputs(outputs, frame_indices, padding_mask)
    assert whole.frames.tolist() == [0, 1, 2, 3]
    assert padded.frames.tolist() == [2, 3, 4]
    assert padded.boxes.shape == (3, 5, 4)
    assert padded.embeddings.shape == (3, 5, 6)
    np.testing.assert_array_equal(padded.boxes[..., :2], outputs["bbox_center"][1, :3].detach().float())
    np.testing.assert_array_equal(whole.scores, outputs["exist_conf"][0, ..., 0].float())
    np.testing.assert_allclose(whole.class_probs.sum(-1), 1, rtol=1e-5)
    assert len(Window.of_outputs(outputs, frame_indices)[1].frames) == 4
