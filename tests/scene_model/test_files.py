"""Files that appear whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from scene_model.errors import UserError
from scene_model.files import NewFile, file_errors, seen_from_here


def test_a_file_appears_when_it_is_placed(tmp_path):
    path = tmp_path / "new" / "folder" / "clip.txt"
    with NewFile(path) as file:
        file.part.write_text("whole")
        assert not path.exists()
        assert file.part.parent == path.parent
        assert file.part.name.startswith(".clip.txt.")
        assert file.part.name.endswith(".part")
        file.place()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", [None, "half"])
def test_what_is_not_placed_leaves_the_old_file_and_no_other(tmp_path, content):
    path = tmp_path / "clip.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), NewFile(path) as file:  # noqa: PT012
        if content:
            file.part.write_text(content)
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_processes_of_equal_number_on_a_shared_folder_never_meet(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert NewFile(tmp_path / "clip.txt").part != NewFile(tmp_path / "clip.txt").part


@pytest.mark.parametrize("letter", ["n", "\N{SNOWMAN}"])
def test_every_name_that_a_file_can_have_works(tmp_path, letter):
    path = tmp_path / (letter * (250 // len(letter.encode())) + ".txt")
    with NewFile(path) as file:
        file.part.write_text("whole")
        file.place()
    assert path.read_text() == "whole"


def test_permissions_are_those_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        with NewFile(tmp_path / "clip.txt") as file:
            file.part.write_text("whole")
            file.place()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "clip.txt").stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["n" * 256, "file/clip.txt", "folder"])
def test_impossible_places_are_found_before_anything_is_written(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=f"{name}: cannot be written"):
        NewFile(tmp_path / name)
    assert {path.name for path in tmp_path.rglob("*")} == {"file", "folder"}


def test_a_refused_rename_is_one_sentence(tmp_path):
    with NewFile(tmp_path / "clip.txt") as file:
        file.part.write_text("whole")
        (tmp_path / "clip.txt").mkdir()
        with pytest.raises(UserError, match=r"clip\.txt: cannot be written \(Is a directory\)"):
            file.place()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.txt"]


def test_errors_without_a_reason_of_the_system_keep_their_words(tmp_path):
    with (
        pytest.raises(UserError, match=r"clip\.txt: cannot be written \(no luck\)"),
        file_errors(tmp_path / "clip.txt"),
    ):
        raise OSError("no luck")


def test_a_path_is_said_as_it_is_typed_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert seen_from_here(tmp_path / "runs" / "version_0") == Path("runs/version_0")
    assert seen_from_here(Path("runs")) == Path("runs")
    assert seen_from_here(tmp_path.parent) == tmp_path.parent
