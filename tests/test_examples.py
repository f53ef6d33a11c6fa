"""The examples in docstrings are true."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
FILES = [
    path for package in ("scene_model", "datamodules", "callbacks") for path in (REPOSITORY / package).rglob("*.py")
]
MODULES = sorted(
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in FILES if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name):
    results = doctest.testmod(import_module(name))
    assert results.attempted
    assert not results.failed
