import io
import pickle
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from datamodules.image_files import FrameCache, image_size, read_image, read_upright
from scene_model.errors import UserError


def save(path, mode="RGB", size=(8, 6), color=None, **options):
    colors = {"RGB": (200, 10, 30), "RGBA": (200, 10, 30, 255), "L": 70, "P": 3, "I;16": 70 * 257}
    Image.new(mode, size, color or colors[mode]).save(path, **options)
    return path


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, content, bits=8, kind=2, *chunks):
    """A file of rows as they are stored; kind 0 is grey, 2 RGB, 3 a palette, 4 grey with alpha, 6 RGB with alpha."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(content) if content else b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + body + png_chunk(b"IEND", b"")


def png_of_size(width, height):
    """A file of a few bytes that claims any size."""
    return png(width, height, b"")


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
        ("a.tif", "RGB", [200, 10, 30]),
        ("a.tiff", "I;16", [70, 70, 70]),
    ],
)
def test_every_mode_becomes_rgb_of_bytes(tmp_path, name, mode, color):
    path = save(tmp_path / name, mode)
    assert image_size(path) == (6, 8)
    frame = read_image(path)
    assert frame.dtype == torch.uint8
    assert frame.shape == (3, 6, 8)
    assert frame[:, 2, 2].tolist() == color


@pytest.mark.parametrize(
    ("bits", "kind", "row", "color"),
    [
        (16, 0, b"\x46\xff", [70, 70, 70]),
        (16, 2, b"\xc8\xff\x0a\x00\x1e\x80", [200, 10, 30]),
        (16, 4, b"\x46\xff\x00\x00", [70, 70, 70]),
        (16, 6, b"\xc8\xff\x0a\x00\x1e\x80\x00\x01", [200, 10, 30]),
        (8, 6, b"\xc8\x0a\x1e\x00", [200, 10, 30]),
        (1, 0, b"\x80", [255, 255, 255]),
        (4, 0, b"\x30", [51, 51, 51]),
        (2, 3, b"\x80", [200, 10, 30]),
    ],
)
def test_png_of_every_depth(tmp_path, bits, kind, row, color):
    palette = png_chunk(b"PLTE", bytes(6) + bytes([200, 10, 30])) + png_chunk(b"tRNS", b"\x00\x80\x10")
    (tmp_path / "a.png").write_bytes(png(1, 1, b"\0" + row, bits, kind, *[palette] * (kind == 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "a.png").flatten().tolist() == color, "the high bytes, alpha left out"


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_images_are_taken_as_stored_or_as_viewers_show_them(tmp_path, name):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    stored = Image.new("RGB", (16, 8), (250, 250, 250))
    stored.paste((0, 0, 0), (0, 0, 8, 8))
    stored.save(tmp_path / name, exif=exif)
    frame = read_image(tmp_path / name)
    assert frame[0, :, 2].max() < 10 < 240 < frame[0, :, 13].min()
    upright = read_upright(tmp_path / name)
    assert torch.equal(upright, frame.rot90(-1, (1, 2)))
    assert torch.equal(read_upright(save(tmp_path / f"plain-{name}")), read_image(tmp_path / f"plain-{name}"))


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png"])
def test_truncated_image(tmp_path, name):
    path = tmp_path / name
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    assert image_size(path) == (60, 80)
    with pytest.raises(UserError, match=rf"{name}: the image is damaged"):
        read_image(path)


NOISE = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)


def mutations(content, number):
    """Copies with a few other bytes, most of them near the beginning, or without the end, or with zeros there."""
    random = np.random.default_rng(0)
    for _ in range(number):
        data = bytearray(content)
        for _ in range(random.integers(1, 5)):
            data[random.integers(random.choice([min(120, len(data)), len(data)]))] = random.integers(256)
        end = random.integers(len(data))
        kind = random.integers(5)
        yield bytes(data[:end] if kind == 0 else data[:end] + bytes(len(data) - end) if kind == 1 else data)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "bmp", "tiff", "gif"])
def test_a_damaged_image_is_a_users_error_whatever_the_damage(tmp_path, kind):
    buffer, path = io.BytesIO(), tmp_path / "a.image"
    Image.fromarray(NOISE).save(buffer, kind, **({"exif": Image.Exif()} if kind != "bmp" else {}))
    sentences = []
    for content in mutations(buffer.getvalue(), 300):
        path.write_bytes(content)
        for read in (read_image, read_upright):
            try:
                assert read(path).dtype == torch.uint8
            except UserError as error:
                sentences.append(str(error))
    assert len(sentences) > 50
    assert all(sentence.startswith(f"{path}: ") and "\n" not in sentence for sentence in sentences)


def test_one_flipped_byte_and_a_tail_of_zeros(tmp_path):
    """Of which torchvision's decoder of PNG dies, and the process with it."""
    save(tmp_path / "a.png", size=(40, 30))
    content = bytearray((tmp_path / "a.png").read_bytes())
    start = content.index(b"IDAT") + 4
    flipped = content[:start] + bytes([content[start] ^ 0xFF]) + content[start + 1 :]
    zeros = content[: start + 10] + bytes(len(content) - start - 10)
    for damaged in (flipped, zeros):
        (tmp_path / "a.png").write_bytes(damaged)
        with pytest.raises(UserError, match=r"a\.png: the image is damaged"):
            read_image(tmp_path / "a.png")


def test_absurd_size_is_refused_before_memory_is_spent(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of_size(100_000, 100_000))
    for read in (image_size, read_image):
        with pytest.raises(UserError, match=r"bomb\.png: .* absurd size"):
            read(path)


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x10JF"])
def test_no_image(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for read in (image_size, read_image):
        with pytest.raises(UserError, match=r"a\.jpg: expected an image"):
            read(path)


def test_missing_file(tmp_path):
    for read in (image_size, read_image):
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
