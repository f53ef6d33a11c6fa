import torch

from scene_model.network.proposals import select_tokens

SIZES = [(4, 4), (2, 2), (1, 1)]
TOKENS = sum(h * w for h, w in SIZES)


def logits_of(places: dict[tuple[int, int], float], num_frames: int = 5) -> torch.Tensor:
    """[1, T, S] with the probability of (frame, token) given, next to nothing elsewhere."""
    probability = torch.full((1, num_frames, TOKENS), 1e-4)
    for (frame, token), value in places.items():
        probability[0, frame, token] = value
    return probability.logit()


def chosen(logits, num_queries, padding_mask=None):
    return [divmod(index, TOKENS) for index in select_tokens(logits, SIZES, padding_mask, num_queries)[0].tolist()]


def test_an_object_in_all_frames_is_taken_once_from_the_key_frame():
    logits = logits_of({(t, 5): 0.9 for t in range(5)} | {(2, 15): 0.5})
    assert chosen(logits, 2) == [(2, 5), (2, 15)]


def test_an_object_that_enters_after_the_key_frame_is_taken_where_it_enters():
    logits = logits_of({(t, 5): 0.9 for t in range(5)} | {(3, 15): 0.8, (4, 15): 0.8})
    assert chosen(logits, 2) == [(2, 5), (3, 15)]


def test_an_object_that_left_before_the_key_frame_is_taken_where_it_was_last():
    logits = logits_of({(0, 15): 0.8, (1, 15): 0.8} | {(2, 5): 0.9})
    assert chosen(logits, 2) == [(2, 5), (1, 15)]


def test_padding_is_never_preferred_and_the_key_frame_is_real():
    logits = logits_of({(t, 5): 0.9 for t in range(5)})
    mask = torch.tensor([[False, False, False, True, True]])
    assert chosen(logits, 1, mask) == [(1, 5)]


def test_no_more_queries_than_tokens():
    assert select_tokens(logits_of({}, num_frames=1), SIZES, None, 100).shape == (1, TOKENS)
