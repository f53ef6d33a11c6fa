"""Bad gt.txt, seqinfo.ini, labels.txt, images and videos, as training data and as what `predict` runs on."""

import io
import random
import re
import struct
import zlib

import av
import numpy as np
from hostile_case import SMALL, Case
from PIL import Image

ROW = "{frame},{id},10,8,12,20,1,1,1\n"
GOOD = "".join(ROW.format(frame=frame, id=identity) for frame in (1, 2, 3) for identity in (1, 2))
SOURCE = ("--data.test", "datamodules.MOTChallenge", "--data.test.root", "SEQ")
TRAIN = ("--data.train", "datamodules.MOTChallenge", "--data.train.root", "SEQ")
TEST = ("test", *SMALL, *TRAIN, *SOURCE)
PREDICT = ("predict", *SMALL, "--tracks.output_dir", "tracks", "--tracks.video", "false", "--data.predict_path")
DRY = ("--trainer.fast_dev_run", "true")
ROWS = {
    "letters": "1,1,a,8,12,20,1,1,1",
    "words": "frame,id,left,top,width,height",
    "comment": "# frame, id",
    "JSON": '{"frame": 1, "id": 1}',
    "XML": "<annotation><track id='1'/></annotation>",
    "nothing but commas": ",,,,,,x,,",
    "two columns": "1,1",
    "five columns": "1,1,10,8,12",
    "nan": "1,9,nan,8,12,20,1,1,1",
    "inf": "1,9,10,inf,12,20,1,1,1",
    "huge exponent": "1,9,1e999,8,12,20,1,1,1",
    "hexadecimal": "1,9,0x10,8,12,20,1,1,1",
    "two dots": "1,9,1.0.0,8,12,20,1,1,1",
    "underscores": "1,9,1_0,8,12,20,1,1,1",
    "decimal comma": "1;9;10,5;8;12;20",
    "semicolons": "1;9;10;8;12;20;1;1;1",
    "bars": "1|9|10|8|12|20",
    "quotes": '"1","9","10","8","12","20"',
    "negative width": "1,9,10,8,-12,20,1,1,1",
    "negative height": "1,9,10,8,12,-20,1,1,1",
    "no width": "1,9,10,8,0,20,1,1,1",
    "frame 0": "0,9,10,8,12,20,1,1,1",
    "frame -1": "-1,9,10,8,12,20,1,1,1",
    "half a frame": "1.5,9,10,8,12,20,1,1,1",
    "frame 10**12": "1000000000000,9,10,8,12,20,1,1,1",
    "frame 10**400": f"1{'0' * 400},9,10,8,12,20,1,1,1",
    "frame beyond the images": "4,9,10,8,12,20,1,1,1",
    "an id twice": "1,1,20,18,12,20,1,1,1",
    "half an id": "1,1.5,10,8,12,20,1,1,1",
    "id 10**30": f"1,1{'0' * 30},10,8,12,20,1,1,1",
    "class 99": "1,9,10,8,12,20,1,99,1",
    "full-width digits": "\uff11,9,10,8,12,20,1,1,1",
    "Arabic digits": "\u0661,9,10,8,12,20,1,1,1",
    "NUL": "1,9,10,8,\x0012,20,1,1,1",
    "escape": "1,9,\x1b[31m10,8,12,20,1,1,1",
    "endless": "9" * 100_000,
    "endless row": "1,9" + ",x" * 50_000,
}
BYTES = {
    "gt binary": bytes(range(256)) * 8,
    "gt UTF-16": GOOD.encode("utf-16"),
    "gt latin": GOOD.encode() + b"1,\xe9,10,8,12,20\n",
    "gt zeros": bytes(2000),
    "gt cut off": GOOD.encode()[:-16],
    "gt picture": b"\x89PNG\r\n\x1a\n" + bytes(200),
    "gt in gzip": b"\x1f\x8b\x08\x00" + bytes(60),
    "gt of two columns": b"1,2\n3,4\n",
}
ACCEPTED_GT = {
    "gt with BOM": b"\xef\xbb\xbf" + GOOD.encode(),
    "gt of Windows": GOOD.replace("\n", "\r\n").encode(),
    "gt of old Macs": GOOD.replace("\n", "\r").encode(),
    "gt with blanks": GOOD.replace(",", " ").encode(),
    "gt mixed": (GOOD + "3 7 10 8 12 20 1 1 1\n").encode(),
    "gt of many columns": GOOD.replace("\n", ",0,0,0,0,0\n").encode(),
    "gt with huge ids": GOOD.replace(",1,10", ",9007199254740991,10").encode(),
    "gt with huge boxes": (GOOD + "3,9,-1e6,-1e6,2e6,2e6,1,1,1\n").encode(),
    "gt empty": b"",
    "gt of blank lines": b"\n\n  \n\n",
}
INI = "[Sequence]\nname=SEQ\nimDir=img1\nframeRate=30\nseqLength=3\nimWidth=96\nimHeight=64\nimExt=.png\n"
INIS = {
    "no section": INI.replace("[Sequence]\n", ""),
    "another section": INI.replace("Sequence", "sequences"),
    "section cut off": INI.replace("]", ""),
    "section twice": INI + "[Sequence]\nname=SEQ\n",
    "key twice": INI + "imWidth=96\n",
    "key without value": INI.replace("imWidth=96", "imWidth"),
    "empty value": INI.replace("imWidth=96", "imWidth="),
    "letters": INI.replace("=96", "=wide"),
    "nan": INI.replace("=30", "=nan"),
    "inf": INI.replace("=30", "=inf"),
    "no rate": INI.replace("=30", "=0"),
    "negative": INI.replace("=64", "=-64"),
    "width": INI.replace("=96", "=97"),
    "huge width": INI.replace("=96", "=" + "9" * 400),
    "height": INI.replace("=64", "=6.4e1.1"),
    "too long": INI.replace("=3\n", "=4\n"),
    "much too long": INI.replace("=3\n", "=1000000000000\n"),
    "too short": INI.replace("=3\n", "=2\n"),
    "half a frame": INI.replace("=3\n", "=2.5\n"),
    "percent": INI.replace("=96", "=%(imHeight)s"),
    "percent sign": INI.replace("=96", "=96%"),
    "images that are none": INI.replace("img1", "frames"),
    "images in a file": INI.replace("img1", "seqinfo.ini"),
    "images above": INI.replace("img1", "../.."),
    "images of the system": INI.replace("img1", "/etc"),
    "images of an endless name": INI.replace("img1", "x" * 300),
    "NUL in imDir": INI.replace("img1", "a\x00b"),
    "binary": "\x00\x01\x02" * 50,
    "JSON": '{"Sequence": {"imWidth": 96}}',
}
ACCEPTED_INIS = {
    "percent in a name": INI.replace("name=SEQ", "name=%(home)s 100%"),
    "only the section": "[Sequence]\n",
    "name that leads out": INI.replace("name=SEQ", "name=../../x"),
    "keys in capitals": INI.replace("imWidth", "IMWIDTH"),
}


def encoded(image, suffix, **options):
    file = io.BytesIO()
    image.save(file, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()), **options)
    return file.getvalue()


def picture(number=0, size=(96, 64)):
    image = Image.new("RGB", size, (40, 90, 60))
    image.paste((200, 60, 60), (10 + number, 8, 22 + number, 28))
    return image


PNG = encoded(picture(), "png")
JPG = encoded(picture(), "jpg")


def sequence(gt=GOOD.encode(), **others):
    """A sequence of three frames, and what is otherwise."""
    files = {f"SEQ/img1/{number:06d}.png": PNG for number in (1, 2, 3)} | {"SEQ/gt/gt.txt": gt}
    return files | {name.replace("__", "/").replace("_ini", ".ini"): text for name, text in others.items()}


def of_annotations():
    rng = random.Random(7)
    for name, row in ROWS.items():
        lines = GOOD.splitlines(keepends=True)
        at = rng.randrange(2, len(lines) + 1)
        text = "".join([*lines[:at], row + "\n", *lines[at:]])
        says = rf"gt\.txt, line {at + 1}: " if name != "class 99" else r"gt\.txt: .*class numbers from 1 to .*id 9"
        yield Case(f"gt {name}", TEST, says, sequence(text.encode()))
    for name, content in BYTES.items():
        yield Case(name, TEST, r"gt\.txt, line \d+: ", sequence(content))
    for name, content in ACCEPTED_GT.items():
        yield Case(name, (*TEST, *DRY), "", sequence(content), is_refused=False)
    without = {name: content for name, content in sequence().items() if "gt.txt" not in name}
    yield Case("gt missing", TEST, r"gt\.txt: expected annotations", without)
    yield Case("gt is a folder", TEST, r"gt\.txt", without | {"SEQ/gt/gt.txt/x": b""})
    yield Case(
        "labels of one class",
        TEST,
        r"gt\.txt",
        sequence(GOOD.replace("1,1,1\n", "1,2,1\n").encode()) | {"SEQ/gt/labels.txt": b"pedestrian\n"},
    )
    yield Case("labels binary", TEST, r"gt\.txt|labels", sequence() | {"SEQ/gt/labels.txt": bytes(range(128, 256))})
    yield Case("labels empty", TEST, r"gt\.txt|labels", sequence() | {"SEQ/gt/labels.txt": b""})
    for bounds in ("[0,3]", "[1,4]", "[3,1]", "[-1,2]", "[1,1000000000000]", "[1]"):
        arguments = (*TEST, "--data.test.frame_range", bounds)
        yield Case(f"frames {bounds}", arguments, "frame_range|data.test", sequence())


def of_sequence_infos():
    for name, text in INIS.items():
        says = (
            r"seqinfo\.ini"
            if not name.startswith("images") and "imDir" not in name and name != "too long" and name != "much too long"
            else "SEQ|/etc"
        )
        yield Case(f"ini {name}", TEST, says, sequence() | {"SEQ/seqinfo.ini": text.encode()})
    yield Case("ini UTF-16", TEST, r"seqinfo\.ini", sequence() | {"SEQ/seqinfo.ini": INI.encode("utf-16")})
    yield Case(
        "ini latin",
        TEST,
        r"seqinfo\.ini",
        sequence() | {"SEQ/seqinfo.ini": INI.replace("SEQ", "café").encode("latin-1")},
    )
    for name, text in ACCEPTED_INIS.items():
        yield Case(f"ini {name}", (*TEST, *DRY), "", sequence() | {"SEQ/seqinfo.ini": text.encode()}, is_refused=False)


def png_of_size(width, height):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def jpeg_of_size(width, height):
    at = JPG.index(b"\xff\xc0") + 5
    return JPG[:at] + struct.pack(">HH", height, width) + JPG[at + 4 :]


def bad_images():
    bmp, gif, tif = (encoded(picture(), kind) for kind in ("bmp", "gif", "tif"))
    yield "empty", "png", b""
    yield "one byte", "png", b"\x89"
    yield "header only", "png", PNG[:20]
    yield "text", "jpg", b"no picture\n" * 50
    yield "HTML", "jpg", b"<html><body>404</body></html>"
    yield "SVG", "png", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
    yield "PostScript", "png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(executed) (w) file\n"
    yield "zeros", "jpg", bytes(3000)
    yield "cut PNG", "png", PNG[: len(PNG) // 2]
    yield "cut JPEG", "jpg", JPG[: len(JPG) // 2]
    yield "cut BMP", "png", bmp[: len(bmp) // 2]
    yield "cut TIFF", "png", tif[: len(tif) // 2]
    yield "100000x100000 PNG", "png", png_of_size(100_000, 100_000)
    yield "60000x60000 JPEG", "jpg", jpeg_of_size(60_000, 60_000)
    yield "2**31 PNG", "png", png_of_size(2**31 - 1, 2**31 - 1)
    yield "100000x100000 BMP", "png", bmp[:18] + struct.pack("<ii", 100_000, 100_000) + bmp[26:]
    yield "60000x60000 GIF", "png", gif[:6] + struct.pack("<HH", 60_000, 60_000) + gif[10:]
    yield "no width", "png", png_of_size(0, 64)
    yield "zip", "png", b"PK\x03\x04" + bytes(100)


def of_images():
    for name, suffix, content in bad_images():
        first = {f"SEQ/img1/{number:06d}.{suffix}": content if number == 1 else PNG for number in (1, 2, 3)}
        files = first | {"SEQ/gt/gt.txt": GOOD.encode()}
        is_late = name in ("cut PNG", "cut BMP", "cut TIFF")  # whose headers are whole
        yield Case(f"first image: {name}", TEST, r"000001\.\w+", files, is_found_late=is_late)
        yield Case(f"predict: {name}", (*PREDICT, f"clip/1.{suffix}"), r"clip/1\.\w+", {f"clip/1.{suffix}": content})
    files = {"SEQ/gt/gt.txt": GOOD.encode()}
    numbered = {"a": [1, 3], "no number": ["x"], "twice": [1, "01"]}
    for name, numbers in numbered.items():
        images = {f"SEQ/img1/{number}.png": PNG for number in numbers}
        yield Case(f"images {name}", TEST, r"SEQ/img1", files | images)
    yield Case("no images", TEST, r"SEQ/img1", files | {"SEQ/img1/readme.txt": b"x"})
    later = {
        "cut off": ("000003.png", PNG[:60]),
        "of text": ("000002.png", b"text"),
    }
    for name, (image, content) in later.items():
        files = sequence() | {f"SEQ/img1/{image}": content}
        yield Case(f"a later image {name}", TEST, re.escape(image), files, is_found_late=True)


def accepted_images():
    grey = Image.fromarray(np.linspace(0, 65535, 96 * 64).reshape(64, 96).astype(np.uint16))
    yield "CMYK", encoded(picture().convert("CMYK"), "jpg")
    yield "16 bit", encoded(grey, "png")
    yield "palette", encoded(picture().convert("P"), "png", transparency=3)
    yield "one bit", encoded(picture().convert("1"), "png")
    yield "alpha", encoded(picture().convert("RGBA"), "png")
    yield "grey with alpha", encoded(picture().convert("LA"), "png")
    yield "animated", encoded(picture(), "gif", save_all=True, append_images=[picture(9)])
    yield "JPEG called PNG", JPG
    yield "one pixel wide", encoded(picture(size=(1, 64)), "png")


def of_accepted_images():
    for name, content in accepted_images():
        files = {f"clip/{number}.png": content for number in (1, 2)}
        yield Case(
            f"predict: image {name}",
            (*PREDICT, "clip", "--trainer.limit_predict_batches", "1"),
            "",
            files,
            is_refused=False,
        )
    files = {"clip/1.png": PNG, "clip/2.png": PNG[:60], "clip/3.png": b"text", "clip/4.png": PNG}
    yield Case(
        "predict: bad images among good ones",
        (*PREDICT, "clip"),
        "cannot read 2 frames .*: left out",
        files,
        is_refused=False,
    )
    files = sequence() | {"SEQ/img1/000002.png": encoded(picture(size=(9, 9)), "png")}
    yield Case("a later image of another size", TEST, "such frames are scaled", files, is_refused=False)
    files = {"clip/1.png": PNG, "clip/2.png": encoded(picture(size=(50, 70)), "png")}
    yield Case("predict: sizes that differ", (*PREDICT, "clip"), "scaled frame 2", files, is_refused=False)


def video(codec="mpeg4", frames=6, container="mp4", with_audio=False):
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=12)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(frames):
            out.mux(stream.encode(av.VideoFrame.from_image(picture(number))))
        out.mux(stream.encode())
    return file.getvalue()


def sound():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=8000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        samples.sample_rate = 8000
        out.mux(stream.encode(samples))
        out.mux(stream.encode())
    return file.getvalue()


def broken_videos():
    rng = random.Random(11)
    whole, matroska = video(), video(container="matroska")
    return {
        "empty.mp4": b"",
        "text.mp4": b"no video\n" * 100,
        "zeros.avi": bytes(5000),
        "header.mp4": whole[:32],
        "without index.mp4": whole[: whole.index(b"moov") - 4],
        "sound.mp4": sound(),
        "no frames.mp4": video(frames=0),
        "notes.txt": b"1,1,10,8,12,20\n" * 20,
        "page.mkv": b"<html></html>",
        "list.m3u8": b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
        "list.ffconcat": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "session.sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        b"m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "archive.mp4": b"PK\x03\x04" + bytes(500),
        "picture.mp4": PNG[:50],
        "random.mkv": rng.randbytes(4000),
        "cut.mkv": matroska[:100],
    }


def of_videos():
    for name, content in broken_videos().items():
        yield Case(f"video {name}", (*PREDICT, name), re.escape(name), {name: content})
    whole = video()
    yield Case("a folder of broken videos", (*PREDICT, "clips"), "clips", {"clips/a.mp4": b"", "clips/b.avi": b"x"})
    yield Case("an empty folder", (*PREDICT, "clips"), "clips", {"clips/readme.txt": b"x"})
    yield Case("a sequence without images", (*PREDICT, "SEQ"), "SEQ", {"SEQ/gt/gt.txt": b""})
    yield Case(
        "output over input",
        ("predict", *SMALL, "--tracks.output_dir", ".", "--data.predict_path", "a.mp4"),
        r"a\.mp4|tracks.output_dir",
        {"a.mp4": whole},
    )
    yield Case(
        "output is a file",
        ("predict", *SMALL, "--tracks.output_dir", "taken", "--data.predict_path", "a.mp4"),
        "taken",
        {"a.mp4": whole, "taken": b"mine"},
    )


def of_accepted_videos():
    whole, matroska, long = video(), video(container="matroska"), video(frames=24, container="matroska")
    accepted = {"wrong.avi": whole, "no suffix": matroska, "cut off.mkv": long[: len(long) * 9 // 10]}
    for name, content in accepted.items():
        says = "damaged or cut off|cannot read" if name.startswith("cut") else ""
        yield Case(f"video {name}", (*PREDICT, name), says, {name: content}, is_refused=False)
    yield Case(
        "a broken video beside a good one",
        (*PREDICT, "clips"),
        r"b\.mp4: .*left out",
        {"clips/a.mp4": whole, "clips/b.mp4": b"x"},
        is_refused=False,
    )


def cases():
    yield from of_annotations()
    yield from of_sequence_infos()
    yield from of_images()
    yield from of_accepted_images()
    yield from of_videos()
    yield from of_accepted_videos()
