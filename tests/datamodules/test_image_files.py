import pickle
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from datamodules.image_files import FrameCache, image_size, read_image
from scene_model.errors import UserError


def save(path, mode="RGB", size=(8, 6), color=None, **options):
    colors = {"RGB": (200, 10, 30), "RGBA": (200, 10, 30, 255), "L": 70, "P": 3, "I;16": 70 * 257}
    Image.new(mode, size, color or colors[mode]).save(path, **options)
    return path


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of_size(width, height):
    """A file of a few bytes that claims any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "mode", "color"),
    [
        ("a.png", "RGB", [200, 10, 30]),
        ("a.png", "RGBA", [200, 10, 30]),
        ("a.png", "L", [70, 70, 70]),
        ("a.png", "I;16", [70, 70, 70]),
        ("a.jpg", "L", [70, 70, 70]),
        ("a.webp", "L", [70, 70, 70]),
        ("a.bmp", "RGB", [200, 10, 30]),
        ("a.gif", "L", [70, 70, 70]),
    ],
)
def test_every_mode_becomes_rgb_of_bytes(tmp_path, name, mode, color):
    path = save(tmp_path / name, mode)
    assert image_size(path) == (6, 8)
    frame = read_image(path, (6, 8))
    assert frame.dtype == torch.uint8
    assert frame.shape == (3, 6, 8)
    assert frame[:, 2, 2].tolist() == color


def test_orientation_is_kept_as_stored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_image(save(tmp_path / "a.jpg", exif=exif), (6, 8)).shape == (3, 6, 8)


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png"])
def test_truncated_image(tmp_path, name):
    path = tmp_path / name
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    assert image_size(path) == (60, 80)
    with pytest.raises(UserError, match=rf"{name}: the image is damaged"):
        read_image(path, (60, 80))


def test_absurd_size_is_refused_before_memory_is_spent(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of_size(100_000, 100_000))
    with pytest.raises(UserError, match=r"bomb\.png: .* absurd size"):
        image_size(path)
    path.write_bytes(png_of_size(9000, 9000))
    with pytest.raises(UserError, match=r"bomb\.png: expected 8x6 pixels as before, found 9000x9000"):
        read_image(path, (6, 8))


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x10JF"])
def test_no_image(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for read in (image_size, lambda path: read_image(path, (6, 8))):
        with pytest.raises(UserError, match=r"a\.jpg: expected an image"):
            read(path)


def test_missing_file(tmp_path):
    for read in (image_size, lambda path: read_image(path, (6, 8))):
        with pytest.raises(UserError, match=r"a\.jpg: cannot be read"):
            read(tmp_path / "a.jpg")


def keys_read(cache, keys):
    """The keys for which the cache had to read, of frames of 12 bytes."""
    missed = []
    for key in keys:
        cache.get(key, lambda key=key: missed.append(key) or torch.zeros(3, 2, 2, dtype=torch.uint8))
    return missed


def test_cache_drops_what_was_not_used_for_longest():
    assert keys_read(FrameCache(24), [1, 2, 1, 3, 1, 2]) == [1, 2, 3, 2]
    assert keys_read(FrameCache(11), [1, 1]) == [1, 1]
    assert keys_read(FrameCache(0), [1, 1]) == [1, 1]


def test_copies_of_a_cache_start_empty():
    cache = FrameCache(24)
    keys_read(cache, [1])
    assert keys_read(pickle.loads(pickle.dumps(cache)), [1]) == [1]


class NumRead(Dataset):
    def __init__(self):
        self.cache = FrameCache(24)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return len(keys_read(self.cache, [1, 2, 1, 2]))


def test_workers_share_the_budget():
    assert list(DataLoader(NumRead(), batch_size=None, num_workers=2)) == [4, 4]
    assert NumRead()[0] == 2
