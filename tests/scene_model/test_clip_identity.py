import pytest
import torch
import torch.distributed
import torch.multiprocessing

from scene_model.metrics.clip_identity import ClipIdentity

COUNTS = [(3, 5, 4), (0, 2, 7), (6, 6, 6), (1, 9, 1)]


def score(counts):
    metric = ClipIdentity()
    for numbers in counts:
        metric.update(*(torch.tensor(number) for number in numbers))
    return {name: float(value) for name, value in metric.compute().items()}


def test_scores_are_of_the_sums_not_means_of_batches():
    assert score(COUNTS) == pytest.approx({"idf1": 10 / 22, "clip_idf1": 20 / 40, "clip_idp": 10 / 18})


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_counted_gives_zero():
    assert score([]) == score([(0, 0, 0)]) == {"idf1": 0.0, "clip_idf1": 0.0, "clip_idp": 0.0}


def _rank(rank, meeting_place, results):
    torch.distributed.init_process_group("gloo", init_method=meeting_place, rank=rank, world_size=2)
    results[rank] = score(COUNTS[rank::2])


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one(tmp_path):
    with torch.multiprocessing.Manager() as manager:
        results = manager.dict()
        torch.multiprocessing.spawn(_rank, args=(f"file://{tmp_path}/meeting", results), nprocs=2)
        assert results[0] == results[1] == pytest.approx(score(COUNTS))
