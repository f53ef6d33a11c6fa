import pytest

from scene_model.cli.early_options import EarlyOptions
from scene_model.cli.parser import brief

UNION = """Parser key "model.scheduler":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'scene_model.config.SchedulerConfig'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path 'scene_model.config.SchedulerConfig':
        Parser key "min_ratio":
          Expected a <class 'float'>. Got value: x
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: x
"""
PLAIN_UNION = """Parser key "trainer.max_epochs":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'int'>, <class 'NoneType'>]
  Errors:
    - Expected a <class 'int'>
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: x
"""


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (UNION, "model.scheduler.min_ratio: expected float, got x"),
        (PLAIN_UNION, "trainer.max_epochs: expected int or null, got x"),
        ("Expected a typing.Literal['max', 'min']. Got value: x", "expected one of 'max', 'min', got x"),
        ("Worded in a way\n  never seen before", "Worded in a way never seen before"),
        ("", ""),
    ],
)
def test_one_sentence_names_the_key_and_what_was_expected(message, sentence):
    assert brief(message) == sentence


def test_flags_come_before_the_last_config_file_and_that_before_the_first(tmp_path):
    first, last = tmp_path / "first.yaml", tmp_path / "last.yaml"
    first.write_text("ckpt_path: a.ckpt\ntrainer: {default_root_dir: a}\n")
    last.write_text("ckpt_path: b.ckpt\nmodel: {debug: true}\n")
    files = ["fit", "--config", str(first), f"--config={last}"]

    def paths(arguments):
        options = EarlyOptions.read(arguments)
        return options.ckpt_path, options.default_root_dir

    assert paths(files) == ("b.ckpt", "a")
    assert paths([*files, "--ckpt_path", "c.ckpt"]) == ("c.ckpt", "a")
    assert paths([*files, "--ckpt_path=null"]) == (None, "a")
    assert paths(["fit", "-c", str(first), "--ckpt_path"]) == ("a.ckpt", "a")
    assert paths([]) == (None, None)
    assert EarlyOptions.read(files).contents[1] == {"ckpt_path": "b.ckpt", "model": {"debug": True}}
