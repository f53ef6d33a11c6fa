"""The argument parser, whose errors are one sentence."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from scene_model.cli.user_errors import fail

_KEY = re.compile(r'Parser key "([^"]+)":')
_CLASS = re.compile(r"Problem with given class_path '([^']+)':")
_EXPECTED = re.compile(r"Expected an? (?!instantiatable)(?P<what>.+?)(?:\. Got value: (?P<got>.*)|: (?P<class>.*))?$")
_GIVEN = re.compile(r"Given value: (.*)")
_NESTED = re.compile(r"NestedArg\(key='([^']+)', val=(.*)\)$")
_BOILERPLATE = ("Does not validate", "Subtypes:", "Errors:", "Given value", "Expected a path but")
_REWORDED = [
    (r"unrecognized arguments: (.*)", r"unknown option \1 (--help after the command lists all)"),
    (r"Subcommand '(\w+)' does not accept option '(.*)'", r"unknown key \2 (\1 --help lists all)"),
    (r'expected "subcommand" to be one of \{(.*)\}.*', r"expected a command: \1 (--help says more)"),
    (r"argument (\S+) --> (\S+): .*", r"\2: is set by \1"),
    (r'Linked "(\S+)" must be given via "(\S+)".*', r"\1: is set by \2"),
    (r"Unexpected config: (.*)", r"expected keys and values in the configuration, found \1"),
    (r'Key "(\S+)\.\w+" not found in namespace\.', r"\1: expected keys and values below it"),
]


class BriefErrorParser(LightningArgumentParser):
    """Says what is wrong in one sentence, where jsonargparse prints all options and all types that it tried."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.allow_abbrev = False  # --ckpt would be parsed, but too late to be read

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the sentence and exit with code 2; a parser within the parser raises instead."""
        if not self.exit_on_error:
            super().error(message, ex)
        fail(brief(message), waits=True)


def brief(message: str) -> str:
    r"""One sentence that names the key and what was expected there.

    Where jsonargparse comes to word its messages otherwise, what is left is its message on one line.

    >>> brief('Parser key "data.batch_size":\n  Expected a <class \'int\'>. Got value: two')
    'data.batch_size: expected int, got two'
    """
    for pattern, replacement in _REWORDED:
        if match := re.fullmatch(pattern, message, re.DOTALL):
            return match.expand(replacement)
    message = _plain_types(message)
    key, given = ".".join(_KEY.findall(message)), _GIVEN.search(message)
    nested = _NESTED.match(given[1]) if given else None
    if nested and "is abstract" in message:
        return f"{key}.{nested[1]}: give --{key} a class first"
    lines = [line.strip(" -") for line in _CLASS.sub("", _KEY.sub("", message)).splitlines()]
    reason = _reason([line for line in lines if line and not line.startswith(_BOILERPLATE)], given and given[1])
    classes = _CLASS.findall(message)
    if classes and not reason.startswith("expected"):
        reason = f"{classes[-1]}: {reason}"
    return f"{key}: {reason}" if key else reason


def _reason(reasons: list[str], given: str | None) -> str:
    """The first reason that goes into details, else all that was expected."""
    expected = [match for reason in reasons if (match := _EXPECTED.match(reason))]
    for match in expected:
        if match["got"] is not None:
            return f"expected {match['what']}, got {match['got']}"
    details = [reason for reason in reasons if not _EXPECTED.match(reason)]
    if details or not expected:
        return " ".join(details)
    kinds = " or ".join(dict.fromkeys(match["what"] for match in expected))
    return f"expected {kinds}, got {given or expected[0]['class']}"


def _plain_types(message: str) -> str:
    """Types as users write them."""
    message = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", message).replace("NoneType", "null")
    message = message.replace("Expected a tuple", "Expected a list")
    message = re.sub(r"typing\.Literal\[([^\]]*)\]", r"one of \1", message)
    return message.replace("dot import path string", "class path such as package.Class")
