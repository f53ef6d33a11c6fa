from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from scene_model.errors import UserError
from scene_model.mot_text import MotTable, MotWriter, read_mot, write_mot

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
GOOD = "1,1,10,20,30,40,1,1,1\n"


def random_table(num_rows: int, dtype: type = np.float64) -> MotTable:
    rng = np.random.default_rng(0)
    numbers = (rng.random((num_rows, 7)) * 10.0 ** rng.integers(-8, 20, (num_rows, 7))).astype(dtype)
    return MotTable(np.arange(num_rows), rng.permutation(num_rows), numbers[:, :4], *numbers[:, 4:].T)


def assert_same(one: MotTable, other: MotTable) -> None:
    for name in ("frames", "track_ids", "boxes", "conf", "classes", "visibility"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize(
    "text",
    [
        "1,7,10.5,20,30,40,0.5,3,0.25\n2,8,-1,2,3,4.75,1,1,1\n",
        "1,7,10.5,20,30,40,0.5,3,0.25,\n2,8,-1,2,3,4.75,1,1,1,,\n",
        "1 7 10.5 20 30 40 0.5 3 0.25\n2\t8  -1\t2 3 4.75 1 1 1",
        "1, 7, 10.5, 20, 30, 40, 0.5, 3, 0.25\n\n  \n2, 8, -1, 2, 3, 4.75\n",
        "1,7,10.5,20,30,40,0.5,3,0.25\r\n2,8,-1,2,3,4.75,1,1,1\r\n",
        "\n\n1.0,7,1.05e1,2E1,30,40.,5e-1,3,0.25,-1\n2,8,-1,2,3,4.75,1,1,1,-1\n\n",
        "\ufeff1,7,+10.5,20,30,40,.5,3,0.25\n2,8,-1,2,3,4.75\n",
    ],
    ids=["plain", "trailing-commas", "white-space", "spaces-and-blanks", "crlf", "scientific", "byte-order-mark"],
)
def test_reads_what_people_write(tmp_path, text):
    path = tmp_path / "gt.txt"
    path.write_bytes(text.encode())
    expected = MotTable(
        frames=np.array([0, 1]),
        track_ids=np.array([7, 8]),
        boxes=np.array([[10.5, 20, 30, 40], [-1, 2, 3, 4.75]]),
        conf=np.array([0.5, 1]),
        classes=np.array([3.0, 1]),
        visibility=np.array([0.25, 1]),
    )
    assert_same(read_mot(path), expected)


@pytest.mark.parametrize("text", ["", "\n", "\r\n \n", "\ufeff"])
def test_empty_file_has_no_rows(tmp_path, text):
    path = tmp_path / "gt.txt"
    path.write_bytes(text.encode())
    table = read_mot(path, num_frames=5)
    assert len(table) == 0
    assert table.boxes.shape == (0, 4)


def test_missing_columns_count_as_one(tmp_path):
    path = tmp_path / "gt.txt"
    path.write_text("1,1,10,20,30,40\n")
    table = read_mot(path)
    assert (table.conf, table.classes, table.visibility) == (1, 1, 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2,1,10,20,30", "at least 6 columns (frame,id,left,top,width,height), found 5"),
        ("2 1 10", "found 3"),
        ("2,1,10,x,30,40", "expected a number in column 4, found 'x'"),
        ("2,1,10,20,30,40,1x", "expected a number in column 7, found '1x'"),
        ("2,1,1.2.3,20,30,40", "column 3, found '1.2.3'"),
        ("2,1,1-2,20,30,40", "column 3, found '1-2'"),
        ("2,1,1e2e3,20,30,40", "column 3, found '1e2e3'"),
        ("2,1,1e2.5,20,30,40", "column 3, found '1e2.5'"),
        ("2,1,1e,20,30,40", "column 3, found '1e'"),
        ("2,1,-,20,30,40", "column 3, found '-'"),
        ("2,1,1_0,20,30,40", "column 3, found '1_0'"),
        ("2,1,,20,30,40", "column 3, found ''"),
        ("2,1,nan,20,30,40", "column 3, found 'nan'"),
        ("2,1,inf,20,30,40", "column 3, found 'inf'"),
        ("2,1,10,20,30,1e999", "expected finite numbers"),
        ("2,1,10,20,-30,40", "positive width and height, found -30 and 40"),
        ("2,1,10,20,30,0", "positive width and height, found 30 and 0"),
        ("0,1,10,20,30,40", "frame number, 1 or more, found 0"),
        ("-1,1,10,20,30,40", "frame number, 1 or more, found -1"),
        ("1.5,1,10,20,30,40", "whole frame number, 1 or more, found 1.5"),
        ("6,1,10,20,30,40", "at most the 5 frames of the sequence, found frame 6"),
        ("1e300,1,10,20,30,40", "frame number, 1 or more, found 1e+300"),
        ("2,1.5,10,20,30,40", "whole track id, found 1.5"),
        ("1,1,11,21,31,41,1,1,1", "once per frame, found id 1 again in frame 1"),
        ("2,1,10,20,-30,40,1,1,1", "positive width and height"),
    ],
)
def test_error_names_file_line_and_expectation(tmp_path, row, message):
    path = tmp_path / "gt.txt"
    path.write_text(f"\n{GOOD}\n{row}\n{GOOD.replace('1,1,', '3,9,', 1)}")
    with pytest.raises(UserError) as caught:
        read_mot(path, num_frames=5)
    assert str(caught.value).startswith(f"{path}, line 4: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tracker_output_may_hold_empty_but_no_negative_boxes(tmp_path):
    path = tmp_path / "tracks.txt"
    path.write_text("1,1,10,20,0,40,-1,-1,-1,-1\n")
    assert len(read_mot(path, ground_truth=False)) == 1
    path.write_text("1,1,10,20,-1,40,-1,-1,-1,-1\n")
    with pytest.raises(UserError, match=r"line 1: .* non-negative"):
        read_mot(path, ground_truth=False)


@pytest.mark.parametrize("name", ["missing.txt", "."])
def test_unreadable_path(tmp_path, name):
    with pytest.raises(UserError, match="cannot be read"):
        read_mot(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_round_trip_is_exact(tmp_path, dtype):
    table = random_table(5000, dtype)
    write_mot(tmp_path / "tracks.txt", table)
    assert_same(read_mot(tmp_path / "tracks.txt"), table)


def test_plain_and_line_by_line_parsing_agree(tmp_path):
    write_mot(tmp_path / "plain.txt", random_table(2000))
    text = (tmp_path / "plain.txt").read_text().replace("e+", "e")
    (tmp_path / "plain.txt").write_text(text)
    (tmp_path / "spaced.txt").write_text(text.replace(",", " "))
    assert_same(read_mot(tmp_path / "plain.txt"), read_mot(tmp_path / "spaced.txt"))


def test_speed_is_that_of_compiled_parsing(tmp_path):
    frames, track_ids = np.divmod(np.arange(75_000), 150)
    boxes = np.random.default_rng(0).uniform(1, 1000, (75_000, 4)).round(2)
    write_mot(tmp_path / "big.txt", MotTable.of_tracks(frames, track_ids, boxes, np.ones(75_000)))
    seconds = []
    for _ in range(3):
        start = perf_counter()
        read_mot(tmp_path / "big.txt")
        seconds.append(perf_counter() - start)
    assert min(seconds) < 0.3  # 0.05 on an idle core; line by line takes 0.5


def test_written_rows_follow_the_benchmarks(tmp_path):
    table = MotTable.of_tracks(np.array([0]), np.array([3]), np.array([[1.5, 2, 30, 40.25]]), np.array([0.75]))
    write_mot(tmp_path / "new" / "folder" / "tracks.txt", table)
    assert (tmp_path / "new" / "folder" / "tracks.txt").read_text() == "1,3,1.5,2,30,40.25,0.75,-1,-1,-1\n"


def test_writer_shows_the_file_only_when_it_is_whole(tmp_path):
    table = random_table(10)
    path = tmp_path / "tracks.txt"
    with MotWriter(path) as writer:
        writer.append(table[:4])
        assert not path.exists()
        writer.append(table[4:])
    assert_same(read_mot(path), table)
    assert list(tmp_path.iterdir()) == [path]


def test_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "tracks.txt"
    path.write_text(GOOD)

    def fail_halfway() -> None:
        with MotWriter(path) as writer:
            writer.append(random_table(10))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    assert path.read_text() == GOOD
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence_while_rows_are_added(tmp_path, full_disk):
    writer = MotWriter(tmp_path / "tracks.txt").__enter__()
    with full_disk():
        with pytest.raises(UserError, match=r"tracks\.txt: cannot be written \(File too large\)$") as caught:
            writer.append(random_table(150))
        writer.__exit__(caught.type, caught.value, caught.tb)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_sentence_at_the_end(tmp_path, full_disk):
    boxes, ones = np.tile([10.0, 20.0, 30.0, 40.0], (270, 1)), np.ones(270)
    table = MotTable.of_tracks(np.arange(1000, 1270), ones.astype(int), boxes, ones)
    writer = MotWriter(tmp_path / "tracks.txt").__enter__()
    with full_disk():
        writer.append(table)  # little enough to be kept back
        with pytest.raises(UserError, match=r"tracks\.txt: cannot be written \(File too large\)$"):
            writer.__exit__(None, None, None)
    assert not list(tmp_path.iterdir())


def test_a_closed_file_is_still_hidden(tmp_path):
    table = random_table(10)
    with MotWriter(tmp_path / "tracks.txt") as writer:
        writer.append(table)
        writer.close()
        (hidden,) = tmp_path.iterdir()
        assert hidden.name.startswith(".")
        assert_same(read_mot(hidden), table)
    assert [path.name for path in tmp_path.iterdir()] == ["tracks.txt"]


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"tracks\.txt: cannot be written"):
        write_mot(tmp_path / "file" / "tracks.txt", random_table(1))


def test_joined_is_what_was_cut_apart():
    table = random_table(10)
    assert_same(MotTable.joined([table[:4], table[4:4], table[4:]]), table)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize("pattern", ["metrics/*/gt/*.txt", "metrics/*/tracker/*.txt", "mot/*/gt/gt.txt"])
def test_reads_all_files_at_hand(pattern):
    paths = sorted(SHARED.glob(pattern))
    assert paths
    for path in paths:
        table = read_mot(path, ground_truth="tracker" not in pattern)
        expected = np.loadtxt(path, delimiter=",", ndmin=2)
        np.testing.assert_array_equal(table.frames + 1, expected[:, 0])
        np.testing.assert_array_equal(table.track_ids, expected[:, 1])
        np.testing.assert_array_equal(table.boxes, expected[:, 2:6])
        np.testing.assert_array_equal(table.conf, expected[:, 6])
