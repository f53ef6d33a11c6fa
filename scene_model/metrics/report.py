"""How scores are shown and stored."""

from __future__ import annotations

import csv
import io
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from scene_model.files import NewFile, file_errors
from scene_model.metrics.scores import Scores, is_combined

if TYPE_CHECKING:
    from rich.table import Table

_PERCENTAGES = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "IDP", "IDR")
_COUNTS = ("IDSW", "Frag", "MT", "ML", "CLR_FN", "CLR_FP")


def scores_table(scores: Scores) -> Table:
    """A rich table of the best known fields, ratios in percent: a sequence per row, what is combined last."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("sequence", no_wrap=True)
    for name in (*_PERCENTAGES, *_COUNTS):
        table.add_column(name.removeprefix("CLR_"), justify="right", no_wrap=True)
    first_combined = next((name for name in scores if is_combined(name)), None)
    for name, fields in scores.items():
        ratios = (f"{100 * fields[field]:.2f}" for field in _PERCENTAGES)
        counts = (f"{fields[field]:.0f}" for field in _COUNTS)
        if name == first_combined:
            table.add_section()
        table.add_row(name, *ratios, *counts)
    return table


def print_scores(scores: Scores) -> None:
    """Prints the table, as wide as it needs to be."""
    from rich.console import Console

    table, console = scores_table(scores), Console()
    needed = console.measure(table, options=console.options.update_width(1000)).maximum
    console.width = max(needed, console.width)
    console.print(table)


def write_scores(folder: Path, stem: str, scores: Scores) -> None:
    """Writes ``<stem>.json``, the object itself, and ``<stem>.csv``, a row for each name, in place of older ones.

    Numbers are the shortest decimals that read back as the same float64. A field that a row does not have is an empty
    cell.

    Raises:
        UserError: a file cannot be written; what stands there is whole.
    """
    texts = {folder / f"{stem}.json": json.dumps(scores, indent=2) + "\n", folder / f"{stem}.csv": _as_csv(scores)}
    with ExitStack() as stack:
        files = [stack.enter_context(NewFile(path)) for path in texts]
        for file in files:
            with file_errors(file.path):
                file.part.write_text(texts[file.path], encoding="utf-8", newline="")
        for file in files:
            file.place()


def _as_csv(scores: Scores) -> str:
    fields = dict.fromkeys(field for row in scores.values() for field in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, ["sequence", *fields], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({"sequence": name} | row for name, row in scores.items())
    return text.getvalue()
