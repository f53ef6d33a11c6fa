import copy
import os
import pickle
from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader

from scene_model.batch import SceneBatch, SequenceInfo, TargetFrame

COLUMNS = ("boxes", "labels", "track_ids", "ignore")


def target(number):
    """A frame of so many objects, numbered."""
    ids = torch.arange(number)
    return TargetFrame(torch.rand(number, 4), ids % 3, 10 + ids, ids % 2 == 1)


def make_batch():
    return SceneBatch(
        frames=torch.randint(0, 256, (2, 3, 3, 8, 8), dtype=torch.uint8),
        targets=[[target(2), target(0), target(5)], [target(0), TargetFrame.empty(), target(1)]],
        padding_mask=torch.tensor([[False, False, False], [False, True, True]]),
        sequences=[SequenceInfo("a", 9, 8, 8, 10.0), SequenceInfo("b", 4, 4, 6, 25.0)],
        frame_indices=torch.arange(6).reshape(2, 3),
        seeds=torch.tensor([2**61, 7]),
        is_last=[False, True],
        truths=[None, None],
    )


def assert_same(one, other):
    for name in ("sequences", "is_last", "truths"):
        assert getattr(one, name) == getattr(other, name), name
    assert len(one) == len(other)
    for name in ("frames", "padding_mask", "frame_indices", "seeds"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert [len(clip) for clip in one.targets] == [len(clip) for clip in other.targets]
    for clip, same in zip(one.targets, other.targets, strict=True):
        for frame, again in zip(clip, same, strict=True):
            for name in COLUMNS:
                column, expected = getattr(frame, name), getattr(again, name)
                assert column.dtype == expected.dtype
                assert torch.equal(column, expected), name


def test_target_frames_are_selected_by_mask_and_by_indices():
    frame = target(4)
    masked, indexed = frame[torch.tensor([True, False, True, True])], frame[torch.tensor([3, 0])]
    assert (len(frame), len(masked), len(indexed)) == (4, 3, 2)
    assert masked.track_ids.tolist() == [10, 12, 13]
    assert indexed.track_ids.tolist() == [13, 10]
    for name in COLUMNS:
        assert torch.equal(getattr(indexed, name), getattr(frame, name)[[3, 0]])
    assert len(frame[torch.zeros(4, dtype=torch.bool)]) == 0


def test_an_empty_target_frame_has_the_types_of_a_full_one():
    empty, full = TargetFrame.empty(), target(2)
    for name in COLUMNS:
        assert getattr(empty, name).dtype == getattr(full, name).dtype
        assert getattr(empty, name).shape == (0, *getattr(full, name).shape[1:])


def test_to_moves_what_the_network_reads_and_copies_the_batch():
    batch = make_batch()
    moved = batch.to("meta")
    assert (moved.frames.device.type, moved.padding_mask.device.type) == ("meta", "meta")
    assert moved.frames.shape == batch.frames.shape
    assert moved.targets is batch.targets
    assert {moved.seeds.device.type, moved.frame_indices.device.type, batch.frames.device.type} == {"cpu"}
    assert len(moved) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs CUDA")
def test_pinned_batches_reach_the_gpu():
    batch = make_batch()
    pinned = batch.pin_memory()
    assert pinned.frames.is_pinned()
    assert pinned.padding_mask.is_pinned()
    assert not batch.frames.is_pinned()
    assert_same(pinned.to("cuda").to("cpu"), batch)


@pytest.mark.parametrize("duplicate", [lambda batch: pickle.loads(pickle.dumps(batch)), copy.deepcopy])
def test_copies_are_the_same(duplicate):
    batch = make_batch()
    copied = duplicate(batch)
    assert_same(copied, batch)
    copied.targets[0][2].boxes.zero_()
    copied.targets[0][2].track_ids.zero_()
    assert_same(duplicate(batch), batch)
    assert batch.targets[0][2].boxes.any()
    assert copied.targets[0][0].track_ids.all()


class LongClips(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        batch = make_batch()
        batch.targets = [[target(3) for _ in range(50)] for _ in range(4)]
        return batch


def test_batches_from_workers_hold_few_files_open():
    """Every tensor that a worker sends is an open file; a tensor for each frame would run out of them."""
    loader = DataLoader(LongClips(), batch_size=None, num_workers=1)
    batches = iter(loader)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else pytest.skip("needs /proc")
    kept = list(batches)
    assert len(os.listdir("/proc/self/fd")) - before < 50
    assert [len(batch.targets[3]) for batch in kept] == [50] * 3


def test_frames_that_clips_share_are_given_once():
    batch = make_batch()
    a, b = batch.sequences
    batch.sequences, batch.frame_indices = [a, a], torch.tensor([[3, 4, 5], [5, 6, 6]])
    batch.frames[1, 0], batch.frames[1, 2] = batch.frames[0, 2], batch.frames[1, 1]
    frames, frame_of = batch.distinct_frames()
    assert len(frames) == 4
    assert torch.equal(frames[frame_of], batch.frames)
    batch.sequences = [a, b]
    assert len(batch.distinct_frames()[0]) == 5


def test_padding_is_told_from_real_frames_by_their_numbers():
    batch = replace(make_batch(), frame_indices=torch.tensor([[0, 4, 8], [3, 3, 3]]))
    assert batch.real_frames() == [[0, 4, 8], [3]]
    assert replace(batch, frame_indices=torch.tensor([[6, 5, 5], [-1, -1, -1]])).real_frames() == [[6, 5], []]
