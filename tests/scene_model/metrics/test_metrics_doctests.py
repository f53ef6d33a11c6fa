import doctest
import pkgutil
from importlib import import_module

import pytest

import scene_model.metrics

MODULES = [module.name for module in pkgutil.iter_modules(scene_model.metrics.__path__) if module.name != "__main__"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(import_module(f"scene_model.metrics.{name}")).failed == 0


@pytest.mark.parametrize("name", ["hota", "clear", "identity", "sequence_metrics"])
def test_there_are_examples(name):
    assert doctest.testmod(import_module(f"scene_model.metrics.{name}")).attempted


def test_all_names_can_be_imported():
    for name in scene_model.metrics.__all__:
        assert getattr(scene_model.metrics, name)
    with pytest.raises(AttributeError, match="nothing"):
        _ = scene_model.metrics.nothing
