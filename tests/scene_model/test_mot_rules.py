import numpy as np
import pytest

from scene_model.errors import UserError
from scene_model.mot_rules import class_rules


def test_class_ids_follow_the_order_of_the_labels():
    rules = class_rules("MOT17", ["car", "pedestrian"])
    assert rules.class_ids == (3, 1)
    np.testing.assert_array_equal(rules.labels(np.array([1.0, 3, 2, -1])), [1, 0, -1, -1])


def test_names_of_the_file_replace_those_of_the_benchmark():
    rules = class_rules("DanceTrack", ["cat"], names=["dog", "cat", "reflection"])
    assert rules.class_ids == (2,)
    assert rules.distractor_ids == (3,)


def test_distractors_by_benchmark():
    assert class_rules("MOT17", ["pedestrian"]).distractor_ids == (2, 7, 8, 12)
    assert class_rules("MOT20", ["pedestrian"]).distractor_ids == (2, 6, 7, 8, 12)
    assert class_rules("MOT17", ["reflection"]).distractor_ids == (2, 7, 8)


def test_mot15_has_one_class_whatever_the_column_says():
    rules = class_rules("MOT15", ["car"])
    assert rules.distractor_ids == ()
    np.testing.assert_array_equal(rules.labels(np.array([-1, 4.25])), [0, 0])
    with pytest.raises(UserError, match="MOT15 has no class column"):
        class_rules("MOT15", ["car", "pedestrian"])


def test_unknown_class_name():
    with pytest.raises(UserError, match="names out of dog, cat, found 'pedestrian'"):
        class_rules("DanceTrack", ["pedestrian"], names=["dog", "cat"])


def test_a_class_named_twice():
    with pytest.raises(UserError, match="expected different names in `classes`, found \\['car', 'car'\\]"):
        class_rules("MOT17", ["car", "car"])
