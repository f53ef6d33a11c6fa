"""Published scores of real trackers on real sequences."""

import json
from pathlib import Path

import pytest

from scene_model.metrics.__main__ import main

ROOT = Path(__file__).parents[3].parent / "shared" / "data" / "metrics"


def run(capsys, *arguments):
    assert main([str(argument) for argument in (*arguments, "--json")]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", ["tud", "kitti_ciwt"])
def test_every_field_per_sequence_and_combined(name, capsys):
    folder = ROOT / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine")
    expected = json.loads((folder / "expected.json").read_text())
    scores = run(capsys, folder / "gt", folder / "tracker")
    assert list(scores) == list(expected)
    for sequence, fields in expected.items():
        length = fields.pop("num_timesteps", None)
        for field, value in fields.items():
            assert scores[sequence][field] == pytest.approx(value, rel=0, abs=1e-9), (sequence, field)
        if length is not None:
            files = (folder / side / f"{sequence}.txt" for side in ("gt", "tracker"))
            alone = run(capsys, *files, "--num-frames", length)
            assert alone[sequence]["num_timesteps"] == alone[sequence]["CLR_Frames"] == length
            for field, value in fields.items():
                assert alone[sequence][field] == pytest.approx(value, rel=0, abs=1e-9), (sequence, field)
