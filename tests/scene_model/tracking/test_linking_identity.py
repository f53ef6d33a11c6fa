"""Who is who: identities across windows, in scenes with a known answer."""

from dataclasses import replace

import numpy as np
import pytest
from linking_cases import Network, link, scores, straight, synthetic, together

from scene_model.tracking import LinkingConfig

IOU_ONLY = {"embedding_weight": 0.0, "class_weight": 0.0, "max_distance": 0.0}
SAME_LOOK = Network(alike=1000.0)
SHAPES = [(1, 0), (4, 1), (4, 2), (8, 2)]


def hidden(video, first, last):
    """All objects hidden in some frames, both ends included."""
    mask = np.zeros_like(video.present)
    mask[:, first : last + 1] = True
    return video.without(mask)


def crowd(num_frames=60):
    """Twelve objects that pass each other on lanes, and come and go."""
    sides = [(0.05, 0.95) if lane % 2 else (0.95, 0.05) for lane in range(12)]
    video = straight(
        *(((begin, 0.08 + 0.07 * lane), (end, 0.08 + 0.07 * lane)) for lane, (begin, end) in enumerate(sides)),
        num_frames=num_frames,
        classes=np.arange(12) % 3,
    )
    for lane in range(0, 12, 3):
        video.present[lane, : 3 * lane] = False
        video.present[lane + 1, num_frames - 2 * lane :] = False
    return video


@pytest.mark.parametrize(("length", "overlap"), SHAPES)
def test_perfect_windows_with_shuffled_queries_give_perfect_tracks(length, overlap):
    video = crowd()
    rows = link(Network().windows(video, length, overlap), LinkingConfig(overlap=overlap))
    fields = scores(video, rows)
    assert fields["IDF1"] == fields["HOTA"] == fields["MOTA"] == 1
    assert set(rows.track_ids) == set(range(1, 13))


@pytest.mark.parametrize(("length", "overlap"), SHAPES[1:])
def test_perfect_windows_need_nothing_but_iou(length, overlap):
    video = crowd()
    rows = link(Network().windows(video, length, overlap), LinkingConfig(overlap=overlap, **IOU_ONLY))
    assert scores(video, rows)["IDF1"] == 1


def test_ids_follow_births():
    video = crowd(num_frames=40)
    rows = link(Network().windows(video, 4, 2))
    births = [rows.frames[rows.track_ids == track].min() for track in range(1, 13)]
    windows_of_births = np.maximum(0, (np.array(births) - 2) // 2)
    assert (np.diff(windows_of_births) >= 0).all()
    assert windows_of_births[-1] > 0


@pytest.mark.parametrize(("length", "overlap"), SHAPES)
def test_motion_keeps_crossing_objects_apart(length, overlap):
    video = straight(((0.2, 0.4), (0.8, 0.6)), ((0.2, 0.6), (0.8, 0.4)), num_frames=40)
    video = hidden(video, 16, 24)
    rows = link(SAME_LOOK.windows(video, length, overlap), LinkingConfig(overlap=overlap))
    assert scores(video, rows)["IDF1"] == 1


@pytest.mark.parametrize("by", ["embedding", "class"])
def test_looks_keep_objects_apart_that_turn_back_while_they_are_hidden(by):
    there = straight(((0.30, 0.5), (0.49, 0.5)), ((0.70, 0.5), (0.51, 0.5)), num_frames=20)
    video = replace(
        there,
        boxes=np.concatenate([there.boxes, there.boxes[:, ::-1]], axis=1),
        present=np.tile(there.present, 2),
        classes=np.array([0, 1]) if by == "class" else there.classes,
    )
    video = hidden(video, 18, 21)
    network = Network(alike=0.0) if by == "embedding" else SAME_LOOK
    assert scores(video, link(network.windows(video, 4, 2)))["IDF1"] == 1
    blind = LinkingConfig(embedding_weight=0.0, class_weight=0.0, min_agreement=0.0)
    assert scores(video, link(network.windows(video, 4, 2), blind))["IDF1"] < 0.6


@pytest.mark.parametrize(("length", "overlap"), SHAPES)
@pytest.mark.parametrize("max_age", [0, 9])
def test_gaps_are_bridged_up_to_max_age_and_no_further(length, overlap, max_age):
    video = straight(((0.2, 0.5), (0.8, 0.5)), num_frames=48)
    config = LinkingConfig(overlap=overlap, max_age=max_age)
    for gap, expected in ((max_age, {1}), (max_age + 1, {1, 2})):
        if gap < length:
            continue  # a window sees both ends
        rows = link(Network().windows(hidden(video, 20, 20 + gap - 1), length, overlap), config)
        assert set(rows.track_ids) == expected
        assert not set(rows.frames) & set(range(20, 20 + gap))


def test_what_is_far_off_is_somebody_else():
    video = straight(((0.2, 0.2), (0.3, 0.2)), ((0.7, 0.8), (0.8, 0.8)), num_frames=24)
    video.present[0, 12:] = False
    video.present[1, :12] = False
    rows = link(SAME_LOOK.windows(video, 4, 2))
    assert set(rows.track_ids) == {1, 2}


def test_another_class_at_the_same_place_is_somebody_else():
    video = straight(((0.5, 0.5), (0.5, 0.5)), ((0.5, 0.5), (0.5, 0.5)), num_frames=24, classes=[0, 1])
    video.present[0, 10:] = False
    video.present[1, :14] = False
    assert scores(video, link(Network(alike=0.0).windows(video, 4, 2)))["IDF1"] == 1


@pytest.mark.parametrize(("length", "overlap"), SHAPES)
def test_duplicates_make_no_tracks(length, overlap):
    video = crowd()
    rng = np.random.default_rng(0)
    windows = []
    for window in Network().windows(video, length, overlap):
        doubled = replace(
            window,
            boxes=window.boxes + rng.normal(0, 0.002, window.boxes.shape),
            scores=window.scores * rng.uniform(0.7, 0.9, window.scores.shape),
        )
        windows.append(together(doubled, window))
    rows = link(windows, LinkingConfig(overlap=overlap))
    assert scores(video, rows)["IDF1"] == 1
    np.testing.assert_allclose(rows.scores, 0.9)


def test_a_chain_of_overlaps_is_thinned_and_not_dropped():
    video = straight(*(((x, 0.5), (x, 0.5)) for x in (0.500, 0.512, 0.524)), num_frames=4)
    assert set(link(Network().windows(video, 4, 0), LinkingConfig(overlap=0)).track_ids) == {1, 2}


@pytest.mark.parametrize("network", [Network(20, noise=0.03), Network(20, noise=0.05, misses=0.1, blur=0.5)])
def test_noise_does_not_change_who_is_who(network):
    video = crowd()
    for length, overlap in SHAPES[1:]:
        fields = scores(video, link(network.windows(video, length, overlap), LinkingConfig(overlap=overlap)))
        assert fields["IDSW"] == 0
        assert fields["IDP"] == fields["CLR_Pr"]
        assert fields["AssRe"] > 0.75


@pytest.mark.parametrize(("length", "overlap"), [(4, 1), (4, 2)])
@pytest.mark.parametrize("misses", [0.0, 0.1])
def test_better_than_linking_by_iou_alone(length, overlap, misses):
    network = Network(20, noise=0.05 if misses else 0.0, misses=misses, blur=0.5, false_alarms=1 if misses else 0)
    totals = {"ours": np.zeros(3), "iou": np.zeros(3)}
    for number in range(3):
        video = synthetic(number, num_frames=120)
        for name, options in (("ours", {"min_affinity": 0.6}), ("iou", IOU_ONLY)):
            config = LinkingConfig(overlap=overlap, **options)
            fields = scores(video, link(network.windows(video, length, overlap, seed=number), config))
            totals[name] += [fields["IDSW"], fields["IDF1"], fields["AssA"]]
    assert totals["ours"][0] < totals["iou"][0] / 2
    assert (totals["ours"][1:] > totals["iou"][1:]).all()
