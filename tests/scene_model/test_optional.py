"""Packages that only some users need."""

import sys

import pytest

from scene_model.errors import UserError
from scene_model.optional import require


def test_what_is_there_is_no_error():
    require("numpy", "counting", "video")


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("av", 'reading video files needs PyAV: pip install -e ".[extra]"'),
        ("faster_coco_eval", 'reading video files needs faster-coco-eval: pip install -e ".[extra]"'),
        ("absent", 'reading video files needs absent: pip install -e ".[extra]"'),
    ],
)
def test_what_is_missing_is_one_sentence(monkeypatch, module, sentence):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError) as error:
        require(module, "reading video files", "extra")
    assert str(error.value) == sentence


def test_a_broken_installation_is_the_same_sentence(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("raise ImportError('libGL.so.1')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="needs broken_package: pip install") as error:
        require("broken_package", "it", "video")
    assert "libGL" in str(error.value.__cause__)
