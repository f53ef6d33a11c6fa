import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["linker", "similarity", "window"])
def test_examples_of(name):
    results = doctest.testmod(import_module(f"scene_model.tracking.{name}"))
    assert results.failed == 0
    assert results.attempted
