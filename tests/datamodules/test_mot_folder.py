from pathlib import Path

import pytest
from PIL import Image

from datamodules.mot_folder import find_sequences, read_folder
from scene_model.errors import UserError

INFO = "[Sequence]\nname=x\nimDir=img1\nframeRate=7\nseqLength=4\nimWidth=40\nimHeight=20\nimExt=.png\n"


def make_sequence(path, info=None, num_frames=4, name="img1/{:06d}.png"):
    """A sequence of 40x20 frames."""
    for number in range(1, num_frames + 1):
        image = path / name.format(number)
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 20)).save(image)
    if info is not None:
        (path / "seqinfo.ini").write_text(info)
    return path


def read_error(read, path):
    """The one sentence that a function says of a folder."""
    with pytest.raises(UserError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("layout", ["{}", "train/{}", "./train/{}"])
def test_folder_of_sequences_sorted_by_name(tmp_path, layout):
    for name in ("b", "a", "c"):
        make_sequence(tmp_path / layout.format(name))
    make_sequence(tmp_path / ".hidden")
    assert [path.name for path in find_sequences(str(tmp_path))] == ["a", "b", "c"]


def test_symbolic_links_keep_their_names(tmp_path):
    (tmp_path / "MOT17-02").symlink_to(make_sequence(tmp_path / "store" / "x"))
    assert find_sequences(str(tmp_path / "MOT17-02")) == [tmp_path / "MOT17-02"]


def test_no_sequences_or_two_of_one_name(tmp_path):
    assert "expected sequence folders" in read_error(find_sequences, str(tmp_path))
    make_sequence(tmp_path / "train" / "a")
    make_sequence(tmp_path / "test" / "a")
    assert "choose one split" in read_error(find_sequences, str(tmp_path))


def test_images_beside_the_annotations_and_numbering_from_zero(tmp_path):
    path = make_sequence(tmp_path / "flat", name="{}.png", num_frames=11)
    assert read_folder(path).info.num_frames == 11
    assert read_folder(path).image(10) == path / "11.png"
    path.joinpath("1.png").rename(path / "0.png")
    assert f"{path / '1.png'}: missing" in read_error(read_folder, path)
    Image.new("L", (40, 20)).save(path / "1.png")
    assert read_folder(path).info.num_frames == 12
    assert read_folder(path).image(10) == path / "10.png"


def test_what_else_lies_among_the_images(tmp_path):
    path = make_sequence(tmp_path / "a")
    for name in ("._000001.png", "Thumbs.db", "notes 7.txt"):
        (path / "img1" / name).write_text("")
    assert read_folder(path).info.num_frames == 4


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (INFO.replace("[Sequence]", ""), "expected lines key=value under [Sequence]"),
        (INFO.replace("[Sequence]", "[Other]"), "expected lines key=value under [Sequence]"),
        (INFO.replace("imWidth=40", "imWidth"), "expected lines key=value under [Sequence]"),
        (INFO.replace("=40", "=4O"), "expected a positive number for imWidth, found '4O'"),
        (INFO.replace("=7", "=0"), "expected a positive number for frameRate, found '0'"),
        (INFO.replace("=20", "=21"), "imHeight is 21, but the images"),
        (INFO.replace("=4\n", "=3\n"), "seqLength is 3, but the images"),
    ],
)
def test_malformed_seqinfo(tmp_path, info, message):
    path = make_sequence(tmp_path / "a", info=info)
    error = read_error(read_folder, path)
    assert error.startswith(f"{path / 'seqinfo.ini'}: ")
    assert message in error


def test_what_seqinfo_does_not_say_comes_from_the_images(tmp_path):
    path = make_sequence(tmp_path / "a", info="[Sequence]\nframeRate=12.5\n")
    info = read_folder(path).info
    assert (info.num_frames, info.height, info.width, info.fps) == (4, 20, 40, 12.5)


def test_missing_images(tmp_path):
    path = make_sequence(tmp_path / "a", INFO)
    (path / "img1/000004.png").unlink()
    assert f"{path / 'img1/000004.png'}: missing" in read_error(read_folder, path)
    (path / "img1/000002.png").unlink()
    assert f"{path / 'img1/000002.png'}: missing" in read_error(read_folder, path)
    (path / "img1/000001.png").unlink()
    assert f"{path / 'img1/000001.png'}: missing" in read_error(read_folder, path)
    (path / "img1/000003.png").unlink()
    assert f"{path / 'img1'}: expected images named by frame number" in read_error(read_folder, path)
    (path / "img1").rmdir()
    assert f"{path / 'img1'}: expected a folder of images" in read_error(read_folder, path)


def test_two_images_of_one_frame(tmp_path):
    path = make_sequence(tmp_path / "a")
    Image.new("L", (40, 20)).save(path / "img1/2.jpg")
    assert "found frame 2 twice" in read_error(read_folder, path)


def test_the_image_that_is_missing_at_the_end_is_named(tmp_path):
    path = make_sequence(tmp_path, INFO.replace("seqLength=4", "seqLength=5"))
    assert f"{path / 'img1' / '000005.png'}: missing" in read_error(read_folder, path)
    for number in range(1, 5):
        (path / "img1" / f"{number:06d}.png").rename(path / "img1" / f"{number - 1:06d}.png")
    assert f"{path / 'img1' / '000004.png'}: missing" in read_error(read_folder, path)


def test_a_folder_that_cannot_be_read_stops_nothing_beside_it(tmp_path, monkeypatch):
    """Such as lost+found of a whole disk."""
    make_sequence(tmp_path / "train" / "a")
    (tmp_path / "lost+found").mkdir()
    listed = Path.iterdir

    def refuse(path):
        if path.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert [path.name for path in find_sequences(str(tmp_path))] == ["a"]


def test_a_sequence_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    path = make_sequence(tmp_path / "a")

    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("os.listdir", refuse)
    assert f"{path / 'img1'}: cannot be read (Permission denied)" in read_error(read_folder, path)
