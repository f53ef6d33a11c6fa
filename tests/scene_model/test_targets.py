import torch
from factories import frame_of, random_targets

from scene_model.batch import TargetFrame
from scene_model.training.targets import assign_targets, pack

A, B = [0.2, 0.2, 0.1, 0.1], [0.7, 0.7, 0.2, 0.2]


def test_identities_are_aligned_over_the_frames():
    clip = [
        frame_of([A, B], [7, 3], [0, 1]),
        frame_of([B], [3], [1]),
        frame_of([], []),
        frame_of([B, A], [3, 7], [1, 0]),
    ]
    packed = pack([clip])
    assert packed.num_objects.tolist() == [2]
    for row in range(2):
        label = packed.labels[0, row].item()
        assert packed.present[0, row].tolist() == (
            [True, False, False, True] if label == 0 else [True, True, False, True]
        )
        torch.testing.assert_close(packed.boxes[0, row, 0], torch.tensor(A if label == 0 else B))


def test_absent_frames_hold_the_nearest_box():
    other = [0.5, 0.5, 0.1, 0.1]
    packed = pack([[frame_of([], []), frame_of([A], [1]), frame_of([], []), frame_of([], []), frame_of([other], [1])]])
    expected = torch.tensor([A, A, A, other, other])
    torch.testing.assert_close(packed.boxes[0, 0], expected)


def test_same_track_id_in_two_clips_is_two_identities():
    packed = pack([[frame_of([A], [5])], [frame_of([B], [5])]])
    assert packed.num_objects.tolist() == [1, 1]
    torch.testing.assert_close(packed.boxes[:, 0, 0], torch.tensor([A, B]))


def test_ignored_identities_come_last_and_do_not_count():
    packed = pack([[frame_of([A, B], [1, 2], ignore=[True, False])]])
    assert packed.num_objects.tolist() == [1]
    torch.testing.assert_close(packed.boxes[0, 0, 0], torch.tensor(B))
    assert packed.present[0, :, 0].tolist() == [True, False]
    assert packed.ignore[0, :, 0].tolist() == [False, True]


def test_no_object_at_all():
    packed = pack([[TargetFrame.empty()] * 3] * 2)
    assert packed.boxes.shape == (2, 1, 3, 4)
    assert not packed.present.any()
    assert packed.num_objects.tolist() == [0, 0]


def test_every_annotation_is_found_again():
    targets = random_targets(3, 4, seed=3)
    packed = pack(targets)
    assert packed.present.sum() == sum(len(frame) for clip in targets for frame in clip)
    for b, clip in enumerate(targets):
        for t, frame in enumerate(clip):
            rows = packed.present[b, :, t]
            found = sorted(packed.boxes[b, rows, t].tolist())
            assert found == sorted(frame.boxes.tolist())


def test_queries_get_their_objects():
    clip = [frame_of([A, B], [1, 2], [0, 2]), frame_of([A, B], [1, 2], [0, 2], ignore=[False, True]), frame_of([], [])]
    packed = pack([clip])
    objects = torch.tensor([[1, -1, 0]])
    without = torch.ones(1, 3, 3, dtype=torch.bool)
    without[0, 0, 1] = False  # the second query's box falls on something to ignore in the first frame
    queries = assign_targets(packed, objects, without, real=torch.tensor([[True, True, False]]))
    assert queries.present[0].T.tolist() == [[True, False, False], [False, False, False], [True, True, False]]
    assert queries.counted[0].T.tolist() == [[True, False, False], [False, True, False], [True, True, False]]
    assert queries.labels[0, [0, 2]].tolist() == [2, 0]
    torch.testing.assert_close(queries.boxes[0, 0, 0], torch.tensor(B))
