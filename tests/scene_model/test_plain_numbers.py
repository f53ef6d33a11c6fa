import random
import re

import numpy as np

from scene_model.plain_numbers import parse_plain

NUMBER = re.compile(r"-?\d+\.?\d*([eE]-?\d+)?", re.ASCII)


def test_takes_exactly_what_a_regular_expression_takes():
    rng = random.Random(0)
    num_plain = 0
    for _ in range(4000):
        rows = [
            ",".join(rng.choices(["1", "12", "-3.5", "4.", "5e2", "6.25E-3"], k=4)) for _ in range(rng.randint(1, 3))
        ]
        text = "\n".join(rows)
        for _ in range(rng.choice([0, 1, 1, 2])):  # insert or replace a character
            place = rng.randrange(len(text) + 1)
            text = text[:place] + rng.choice("0.e-E,\n+ x") + text[place + rng.randint(0, 1) :]
        cells = [line.split(",") for line in text.strip("\n").split("\n")]
        is_plain = len({len(row) for row in cells}) == 1 and all(
            NUMBER.fullmatch(cell) for row in cells for cell in row
        )
        numbers = parse_plain(text.encode())
        num_plain += is_plain
        assert (numbers is not None) == is_plain, text
        if numbers is not None:
            np.testing.assert_array_equal(numbers, [[float(cell) for cell in row] for row in cells])
    assert 1000 < num_plain < 3000
