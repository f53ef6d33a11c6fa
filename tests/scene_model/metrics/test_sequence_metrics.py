import copy
import pickle

import pytest
import torch
import torch.multiprocessing as mp
from tracking_cases import random_tables

from scene_model.metrics import CLEAR, HOTA, Identity, TrackedSequence, score

METRICS = (HOTA, CLEAR, Identity)
SEEDS = range(6)


def sequences(seeds):
    return [TrackedSequence.of(*random_tables(seed)) for seed in seeds]


def updated(metric_class, seeds):
    metric = metric_class()
    for one in sequences(seeds):
        metric.update(one)
    return metric


def assert_equal(ours, expected):
    assert ours.keys() == expected.keys()
    for name, value in ours.items():
        assert value.dtype == torch.float64
        assert value.shape == ()
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric_class", METRICS)
def test_combines_like_the_functional_core(metric_class):
    combined = score((str(index), one) for index, one in enumerate(sequences(SEEDS)))["COMBINED"]
    for name, value in updated(metric_class, SEEDS).compute().items():
        assert value.item() == pytest.approx(combined[name], abs=1e-12)


@pytest.mark.parametrize("metric_class", METRICS)
def test_states_are_sums(metric_class):
    one, other = updated(metric_class, SEEDS[:2]), updated(metric_class, SEEDS[2:])
    one.merge_state(other)
    assert_equal(one.compute(), updated(metric_class, SEEDS).compute())


@pytest.mark.parametrize("metric_class", METRICS)
def test_reset_copy_and_pickle(metric_class):
    metric = updated(metric_class, SEEDS)
    expected = metric.compute()
    assert_equal(copy.deepcopy(metric).compute(), expected)
    assert_equal(pickle.loads(pickle.dumps(metric)).compute(), expected)
    metric.reset()
    for one in sequences(SEEDS):
        metric(one)
    assert_equal(metric.compute(), expected)


def _rank(rank, address, results):
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    values = {metric.__name__: updated(metric, SEEDS[rank::2]).compute() for metric in METRICS}
    results[rank] = {name: {field: value.item() for field, value in fields.items()} for name, fields in values.items()}
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(tmp_path):
    results = mp.Manager().dict()
    mp.spawn(_rank, (f"file://{tmp_path / 'rendezvous'}", results), nprocs=2)
    for metric_class in METRICS:
        expected = {name: value.item() for name, value in updated(metric_class, SEEDS).compute().items()}
        for rank in range(2):
            assert results[rank][metric_class.__name__] == pytest.approx(expected, abs=1e-12)
