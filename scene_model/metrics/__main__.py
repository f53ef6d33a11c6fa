"""``python -m scene_model.metrics GT TRACKER``: scores MOTChallenge text files, without model or config."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from scene_model.errors import UserError
from scene_model.metrics.files import pair_files, read_sequences, split_classes
from scene_model.metrics.report import print_scores
from scene_model.metrics.scores import score
from scene_model.mot_rules import Benchmark


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the scores; gives the exit code, 2 where the input is wrong."""
    args = _parser().parse_args(argv)
    try:
        pairs, extra = pair_files(args.truth, args.tracker)
        for path in extra:
            print(f"warning: {path}: there is no ground truth of that name, not scored", file=sys.stderr)
        split = split_classes(args.rules, args.classes)
        scores = score(read_sequences(pairs, args.num_frames, split), args.classes or ())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(scores))
    else:
        print_scores(scores)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scene_model.metrics", description="Score trackers as TrackEval does."
    )
    parser.add_argument("truth", metavar="GT", type=Path, help="MOTChallenge text file, or a folder of such files")
    parser.add_argument(
        "tracker", metavar="TRACKER", type=Path, help="the tracker's file, or folder of same-named files"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object {sequence: {field: value}} instead")
    parser.add_argument("--num-frames", type=_positive, metavar="N", help="frames per sequence, if the last are empty")
    parser.add_argument("--rules", choices=get_args(Benchmark), help="score pedestrians by a benchmark's rules")
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="score each class: names of what the tracker's column 8 counts from 1, as predict writes it; so does that "
        "of the ground truth, or with --rules by the benchmark's numbers; its other classes are left out",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {number}")
    return number


if __name__ == "__main__":
    sys.exit(main())
