"""Comma separated numbers, parsed at C speed where they are written plainly."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from scipy.io import mmread

# The grammar of plain comma separated numbers: kinds of characters, and which may stand behind which.
_DIGITS = b"0123456789"
_MAY_FOLLOW = {
    _DIGITS: (_DIGITS, b".", b"eE", b",", b"\n"),
    b".": (_DIGITS, b"eE", b",", b"\n"),
    b"eE": (_DIGITS, b"-"),
    b"-": (_DIGITS,),
    b",": (_DIGITS, b"-"),
    b"\n": (_DIGITS, b"-"),
}
# What is left without digits and signs: a number has at most one dot, then at most one exponent.
_MARK_MAY_FOLLOW = {
    b".": (b"eE", b",", b"\n"),
    b"eE": (b",", b"\n"),
    b",": (b".", b"eE", b",", b"\n"),
    b"\n": (b".", b"eE", b",", b"\n"),
}


def _grammar(may_follow: Mapping[bytes, tuple[bytes, ...]]) -> tuple[bytes, bytes]:
    """Tables for `bytes.translate`: the bit of each byte's kind, and the bits of those that may follow it; else 0."""
    bits = {kind: 1 << index for index, kind in enumerate(may_follow)}
    of_kind, of_followers = bytearray(256), bytearray(256)
    for kind, followers in may_follow.items():
        for byte in kind:
            of_kind[byte], of_followers[byte] = bits[kind], sum(bits[follower] for follower in followers)
    return bytes(of_kind), bytes(of_followers)


_NUMBERS, _MARKS = _grammar(_MAY_FOLLOW), _grammar(_MARK_MAY_FOLLOW)
_TO_LINES = bytes.maketrans(b",", b"\n")


def parse_plain(text: bytes) -> NDArray[np.float64] | None:
    r"""Parses comma separated numbers, equally many in each line, at C speed; None where the text is anything else.

    SciPy's Matrix Market reader is several times faster than `numpy.loadtxt` and rounds as exactly, but takes "1x" for
    1: hence the check of the grammar.

    Returns:
        float64 ``[lines, columns]``.

    Example:
        >>> parse_plain(b"1,2.5\n3,-4e1\n")
        array([[  1. ,   2.5],
               [  3. , -40. ]])
        >>> parse_plain(b"1,2x\n") is None
        True
    """
    body = text.strip(b"\n") + b"\n"
    marks = b"\n" + body.translate(None, _DIGITS + b"-")
    if not _follows(_NUMBERS, b"\n" + body) or not _follows(_MARKS, marks):
        return None
    separators = marks[1:].translate(None, b".eE")
    width = separators.index(b"\n") + 1
    height = len(separators) // width
    if separators != separators[:width] * height:
        return None
    header = b"%%%%MatrixMarket matrix array real general\n%d 1\n" % len(separators)
    numbers = np.asarray(mmread(BytesIO(header + body.translate(_TO_LINES))), dtype=np.float64)
    return numbers.reshape(height, width)


def _follows(grammar: tuple[bytes, bytes], text: bytes) -> bool:
    """Whether each byte may stand behind the one before it."""
    bits, followers = (np.frombuffer(text.translate(table), dtype=np.uint8) for table in grammar)
    return bool((bits[1:] & followers[:-1]).all())
