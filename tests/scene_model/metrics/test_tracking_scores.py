"""Scores of tracks made by hand, whose values can be worked out on paper."""

import numpy as np
import pytest
from tracking_cases import random_tables, sequence, table, track

from scene_model.metrics import TrackedSequence, apply_rules, apply_rules_per_class, hota_curves, hota_sums, score
from scene_model.metrics.overlap import overlapping_pairs
from scene_model.mot_rules import class_rules


def fields(truth, tracker, num_frames=None):
    return score([("one", sequence(truth, tracker, num_frames))])["one"]


def expect(scores, **expected):
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_perfect():
    tracks = track(3, range(4)) + track(9, range(1, 3), left=50)
    scores = fields(tracks, tracks)
    expect(scores, HOTA=1, DetA=1, AssA=1, LocA=1, MOTA=1, MOTP=1, IDF1=1, IDSW=0, Frag=0, MT=2, ML=0, CLR_TP=6)


def test_empty_predictions():
    scores = fields(track(1, range(4)), [])
    expect(scores, HOTA=0, LocA=1, MOTA=0, IDF1=0, CLR_FN=4, IDFN=4, HOTA_FN=4, ML=1, MLR=1, num_timesteps=4)


def test_empty_truth():
    scores = fields([], track(1, range(4)))
    expect(scores, HOTA=0, MOTA=0, IDF1=0, CLR_FP=4, IDFP=4, HOTA_FP=4, ML=0, MLR=1)


def test_empty_sequence():
    expect(fields([], [], num_frames=3), HOTA=0, MOTA=0, IDF1=0, CLR_FN=0, CLR_FP=0, num_timesteps=3)


def test_boxes_that_never_meet():
    scores = fields(track(1, range(4)), track(1, range(4), left=100))
    expect(scores, HOTA=0, DetA=0, MOTA=-1, IDF1=0, CLR_TP=0, CLR_FP=4, CLR_FN=4, ML=1)


def test_switched_identities():
    truth = track(1, range(4)) + track(2, range(4), left=50)
    tracker = track(1, range(2)) + track(2, range(2), left=50) + track(2, range(2, 4)) + track(1, range(2, 4), left=50)
    scores = fields(truth, tracker)
    expect(scores, DetA=1, AssA=1 / 3, HOTA=np.sqrt(1 / 3), IDSW=2, MOTA=6 / 8, IDF1=0.5, IDTP=4, Frag=0)


def test_split_track():
    scores = fields(track(1, range(4)), track(7, range(2)) + track(8, range(2, 4)))
    expect(scores, AssA=0.5, AssRe=0.5, AssPr=1, IDSW=1, IDF1=0.5, IDR=0.5, IDP=0.5, MT=1)


def test_interrupted_track_is_a_fragment_and_no_switch():
    truth = track(1, range(5)) + track(2, range(5), left=50)
    tracker = track(1, (0, 1, 3, 4)) + track(2, range(5), left=50)
    expect(fields(truth, tracker), Frag=1, IDSW=0, CLR_FN=1, PT=1, MT=1)


def test_a_match_that_goes_on_beats_a_better_one():
    truth = track(1, range(2))
    tracker = [*track(5, [0]), *track(5, [1], left=3), *track(6, [1])]
    expect(fields(truth, tracker), IDSW=0, CLR_TP=2, CLR_FP=1, MOTP=(1 + 7 / 13) / 2)


def test_thresholds_of_localisation():
    curves = hota_curves(hota_sums(sequence(track(1, [0]), [(0, 1, 0.0, 0.0, 10.0, 5.0)])))
    np.testing.assert_array_equal(curves["HOTA_TP"], [1.0] * 10 + [0.0] * 9)
    np.testing.assert_array_equal(curves["LocA"], [0.5] * 10 + [1.0] * 9)


def test_ignored_truth_and_distractors():
    truth = table(track(1, range(3)) + track(2, range(3), left=50) + track(3, range(3), left=100), [1] * 3 + [8] * 6)
    truth.conf[6:] = 0
    tracker = table(track(1, range(3)) + track(2, range(3), left=51) + track(3, range(3), left=100), [-1] * 9)
    kept = apply_rules(truth, tracker, class_rules("MOT17", ["pedestrian"]))
    assert [len(rows) for rows in kept] == [3, 3]
    expect(score([("one", TrackedSequence.of(*kept))])["one"], HOTA=1, MOTA=1, IDF1=1)
    kept = apply_rules(truth, tracker, class_rules("MOT15", ["pedestrian"]))
    assert [len(rows) for rows in kept] == [6, 9]


def test_rules_per_class():
    names = ("car", "pedestrian")  # labels 0 and 1, whose numbers under MOT17 are 3 and 1; 8 is a distractor
    truth = table(
        track(1, range(3)) + track(2, range(3), left=50) + track(3, range(3), left=100), [1] * 3 + [3] * 3 + [8] * 3
    )
    tracker = table(track(4, range(3)) + track(5, range(3), left=50) + track(6, range(3), left=100), [2] * 3 + [1] * 6)
    cars, people = apply_rules_per_class(truth, tracker, class_rules("MOT17", names))
    assert [set(rows.track_ids) for rows in cars] == [{2}, {5}]
    assert [set(rows.track_ids) for rows in people] == [{1}, {4}]


def test_rules_of_one_class_take_all_tracks_under_mot15():
    truth, tracker = table(track(1, range(3)), [-1] * 3), table(track(4, range(3)), [1] * 3)
    ((kept_truth, kept_tracks),) = apply_rules_per_class(truth, tracker, class_rules("MOT15", ["pedestrian"]))
    assert (len(kept_truth), len(kept_tracks)) == (3, 3)


def test_an_identity_may_stand_once_in_a_frame():
    with pytest.raises(ValueError, match="more than once"):
        sequence(track(1, [0, 1]), track(1, [1]) + track(1, [1], left=3))


def test_a_box_beyond_the_end():
    with pytest.raises(ValueError, match="of a sequence of 2 frames"):
        sequence(track(1, [0, 1]), track(1, [2]), num_frames=2)


def brute_force_iou(truth, tracker):
    one, other = (np.stack([t.boxes[:, :2] + k * t.boxes[:, 2:] for k in (0, 1)]) for t in (truth, tracker))
    begin = np.maximum(one[0][:, None], other[0][None])
    end = np.minimum(one[1][:, None], other[1][None])
    intersection = (end - begin).clip(0).prod(axis=2)
    areas = [t.boxes[:, 2:].prod(axis=1) for t in (truth, tracker)]
    union = areas[0][:, None] + areas[1][None] - intersection
    same_frame = truth.frames[:, None] == tracker.frames[None]
    return np.where(same_frame & (intersection > 0), intersection / union, 0)


@pytest.mark.parametrize("seed", range(20))
def test_overlaps_are_complete_at_any_scale(seed):
    truth, tracker, _ = random_tables(seed)
    truth, tracker = (rows[np.argsort(rows.frames, kind="stable")] for rows in (truth, tracker))
    for rows in (truth, tracker):
        np.multiply(rows.boxes, 10.0 ** (seed % 10 - 3), out=rows.boxes)
    pairs = overlapping_pairs(truth, tracker)
    found = np.zeros((len(truth), len(tracker)))
    found[pairs.truth, pairs.tracker] = pairs.iou
    np.testing.assert_allclose(found, brute_force_iou(truth, tracker), rtol=1e-6, atol=1e-9)
