"""Small videos whose frames know their number."""

from fractions import Fraction

import av
import numpy as np
from PIL import Image


def picture(number, size=(48, 64)):
    """Frame `number` (0 to 255) as an array: its binary digits from top to bottom, in stripes that survive encoding."""
    digits = np.array([200 if number >> bit & 1 else 40 for bit in range(7, -1, -1)], dtype=np.uint8)
    return np.broadcast_to(np.repeat(digits, size[0] // 8)[:, None, None], (*size, 3)).copy()


def number_of(frame):
    """The number of the frame ``[3, h, w]`` that `picture` drew."""
    rows = frame.float().mean(dim=(0, 2)).view(8, -1).mean(1)
    return sum(1 << 7 - index for index, value in enumerate(rows.tolist()) if value > 120)


def write_video(path, numbers=range(24), codec="mpeg4", size=(48, 64), rate=12, rotation=0, times=None):
    """A video file of the numbered frames, each of which is a key frame; at times in milliseconds, or at the rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"g": "1"})
        (stream.height, stream.width), stream.pix_fmt = size, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, number in enumerate(numbers):
            frame = av.VideoFrame.from_ndarray(picture(number, size), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def packets_of(path):
    """Where the data of each frame lie in a file, as slices."""
    with av.open(str(path)) as container:
        return [slice(packet.pos, packet.pos + packet.size) for packet in container.demux(video=0) if packet.size]


def damage(path, *numbers):
    """Overwrite the data of these frames of a video file with zeros."""
    data, packets = bytearray(path.read_bytes()), packets_of(path)
    for number in numbers:
        data[packets[number]] = bytes(packets[number].stop - packets[number].start)
    path.write_bytes(data)


def write_images(folder, names, size=(48, 64)):
    """Images of the numbered frames, in the order of the names."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.fromarray(picture(number, size)).save(folder / name)
    return folder


def write_sequence(folder, num_frames=5):
    """A sequence in MOTChallenge layout, without annotations."""
    write_images(folder / "img1", [f"{number:06d}.png" for number in range(1, num_frames + 1)])
    return folder


def numbers_of(footage):
    """What each frame shows; None where it could not be read."""
    return [None if frame is None else number_of(frame) for frame in footage.frames()]
