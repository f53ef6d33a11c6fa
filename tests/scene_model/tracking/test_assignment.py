"""What may be linked, and what is preferred: a few boxes of one size that stand still."""

import pytest
from linking_cases import link, still, together

from scene_model.tracking import LinkingConfig

OTHER_LOOK = (0.0, 1.0)


def at(x, y=0.5, size=0.2):
    return (x, y, size, size)


def ids(*windows, **options):
    return link(windows, LinkingConfig(**options)).track_ids.tolist()


@pytest.mark.parametrize(("x", "linked"), [(0.5, True), (0.57, True), (0.65, False)])
def test_little_overlap_on_shared_frames_is_no_link_whatever_else_agrees(x, linked):
    assert len(set(ids(still([0, 1], [0.9, 0.9]), still([1, 2], [0.9, 0.9], at(x)), overlap=1))) == 2 - linked


@pytest.mark.parametrize(
    ("look", "least", "linked"), [((1.0, 0.0), 0.6, True), (OTHER_LOOK, 0.6, False), (OTHER_LOOK, 0.4, True)]
)
def test_who_overlaps_by_half_on_shared_frames_must_look_alike(look, least, linked):
    windows = still([0, 1], [0.9, 0.9]), still([1, 2], [0.9, 0.9], at(0.565), look=look)
    assert len(set(ids(*windows, overlap=1, min_shared_affinity=least))) == 2 - linked


def test_full_overlap_on_shared_frames_is_a_link_whatever_the_looks():
    assert set(ids(still([0, 1], [0.9, 0.9]), still([1, 2], [0.9, 0.9], look=OTHER_LOOK), overlap=1)) == {1}


@pytest.mark.parametrize(
    ("box", "look", "returns"),
    [
        (at(0.5), OTHER_LOOK, True),
        (at(1.1), OTHER_LOOK, False),
        (at(1.1), (1.0, 0.0), True),
        (at(0.5, size=0.06), OTHER_LOOK, False),
        (at(0.5, size=0.15), OTHER_LOOK, True),
        (at(1.5), (1.0, 0.0), False),
    ],
)
def test_who_comes_back_is_near_or_looks_alike(box, look, returns):
    assert ids(still([0], [0.9]), still([6], [0.9], box, look), overlap=0, min_affinity=0.45) == [1, 2 - returns]


def test_a_track_remembers_how_it_looked_before():
    windows = [still([0], [0.9]), still([1], [0.9], look=OTHER_LOOK), still([7], [0.9], at(1.1))]
    assert ids(*windows, overlap=0, min_affinity=0.45) == [1, 1, 1]
    assert ids(windows[1], windows[2], overlap=0, min_affinity=0.45) == [1, 2]


def test_two_that_might_come_back_do_not_break_a_link_that_was_seen():
    waiting, seen, seen_again, new = (at(0.5, y, size=0.1) for y in (0.76, 0.5, 0.505, 0.33))
    before = together(still(range(4), [0.9] * 4, seen), still(range(4), [0.9, 0, 0, 0], waiting))
    after = together(still(range(2, 6), [0.9] * 4, seen_again), still(range(2, 6), [0, 0, 0.9, 0.9], new))
    assert ids(before, after, overlap=2) == [1, 2, 1, 1, 1, 1, 3, 1, 3]


def test_a_duplicate_is_explained_in_all_its_frames():
    strong, weak = still(range(4), [0.9, 0.9, 0, 0]), still(range(4), [0, 0.5, 0.5, 0.5])
    assert set(ids(together(weak, strong))) == {1, 2}
    assert set(ids(together(still(range(4), [0.5] * 4), still(range(4), [0.9] * 4)))) == {1}
