import pytest
from moving_rectangle import MovingRectangle
from torch.utils.data.distributed import DistributedSampler

from datamodules.clips import ClipDataset, ClipSampling
from datamodules.sampler import ClipSampler, SequenceSampler

DATASET = ClipDataset(MovingRectangle((40, 12)), ClipSampling(length=4, size=(60, 80)))
NUM_WINDOWS = 13


def requests(epoch=0, **options):
    sampler = ClipSampler(DATASET, **options)
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert len(drawn) == len(sampler)
    return drawn


def dealt(num_replicas, **options):
    """What all processes ask for, in the order of one process, and how much each asks for."""
    shares = [requests(num_replicas=num_replicas, rank=rank, **options) for rank in range(num_replicas)]
    return [request for turn in zip(*shares, strict=True) for request in turn], len(shares[0])


@pytest.mark.parametrize("num_clips", [None, 5, 13, 30])
def test_training_takes_each_window_once_per_sweep(num_clips):
    drawn = [request for epoch in range(26) for request in requests(epoch, shuffle=True, num_clips=num_clips)]
    assert len(drawn) == 26 * (num_clips or NUM_WINDOWS)
    sweeps = [drawn[first : first + NUM_WINDOWS] for first in range(0, len(drawn), NUM_WINDOWS)]
    orders = [tuple(request.window for request in sweep) for sweep in sweeps]
    assert all(sorted(order) == list(range(NUM_WINDOWS)) for order in orders)
    assert len(set(orders)) == len(orders)


@pytest.mark.parametrize("num_clips", [None, 5, 30])
def test_draws_never_repeat(num_clips):
    drawn = [request for epoch in range(4) for request in requests(epoch, shuffle=True, num_clips=num_clips)]
    assert [request.draw for request in drawn] == list(range(len(drawn)))
    assert not any(request.blank for request in drawn)


@pytest.mark.parametrize("num_replicas", [2, 3, 5])
@pytest.mark.parametrize("num_clips", [None, 4, 30])
def test_training_on_several_processes_equals_one(num_replicas, num_clips):
    for epoch in (0, 3):
        single = requests(epoch, shuffle=True, num_clips=num_clips)
        union, share = dealt(num_replicas, epoch=epoch, shuffle=True, num_clips=num_clips)
        assert union[: len(single)] == single
        assert share == -(-len(single) // num_replicas)
        assert set(union[len(single) :]) <= set(single), "what fills up comes from the same epoch"


def test_more_processes_than_clips():
    union, share = dealt(5, shuffle=True, num_clips=2)
    assert share == 1
    assert [request.draw for request in union] == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("num_replicas", [1, 2, 5, 20])
@pytest.mark.parametrize("num_clips", [None, 4])
def test_evaluation_takes_each_window_once_and_fills_up_with_blanks(num_replicas, num_clips):
    union, share = dealt(num_replicas, epoch=7, num_clips=num_clips)
    assert share == -(-NUM_WINDOWS // num_replicas)
    assert [tuple(request) for request in union[:NUM_WINDOWS]] == [(i, i, False) for i in range(NUM_WINDOWS)]
    assert all(request.blank for request in union[NUM_WINDOWS:])
    assert all(DATASET[request].padding_mask.all() for request in union[NUM_WINDOWS:])


def test_order_is_a_function_of_seed_and_epoch():
    order, same = requests(2, shuffle=True, seed=5), requests(2, shuffle=True, seed=5)
    assert order == same
    assert [request.window for request in order] != [request.window for request in requests(2, shuffle=True, seed=6)]
    on_every_machine = [2, 10, 3, 1, 6, 12, 7, 0, 11, 5, 8, 9, 4]
    assert [request.window for request in requests(shuffle=True)] == on_every_machine


@pytest.mark.parametrize("sampler", [ClipSampler, SequenceSampler])
def test_lightning_takes_it_for_a_distributed_sampler(sampler):
    assert isinstance(sampler(DATASET), DistributedSampler), "else it would put its own in the place"


LENGTHS = (3, 41, 8, 20, 9, 1, 17)


@pytest.mark.filterwarnings("ignore:2 of 7 sequences")
@pytest.mark.parametrize("num_replicas", [1, 2, 3, 7, 10])
def test_whole_sequences_go_to_one_process_each(num_replicas):
    dataset = ClipDataset(MovingRectangle(LENGTHS), ClipSampling(length=4, size=(60, 80), overlap=1))
    samplers = [SequenceSampler(dataset, num_replicas, rank) for rank in range(num_replicas)]
    shares = [list(sampler) for sampler in samplers]
    assert {len(share) for share in shares} == {len(sampler) for sampler in samplers}
    assert len({len(share) for share in shares}) == 1, "every process takes equally many steps"
    dealt = [[request.window for request in share if not request.blank] for share in shares]
    assert all(windows == sorted(windows) for windows in dealt), "in order"
    assert sorted(window for windows in dealt for window in windows) == list(range(len(dataset)))
    owners = [{int(dataset.windows[window, 0]) for window in windows} for windows in dealt]
    assert sum(len(owned) for owned in owners) == len(LENGTHS), "none is split"
    for share in shares:
        blanks = [request.blank for request in share]
        assert blanks == sorted(blanks), "blank clips come last"
        assert all(dataset[request].padding_mask.all() for request in share if request.blank)
    if num_replicas == 2:
        assert len(shares[0]) == -(-len(dataset) // 2), "the work is dealt evenly"
