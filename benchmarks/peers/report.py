"""The table and the picture of finished runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers.results import Entry
from scene_model.files import NewFile

Points = dict[tuple[str, float], list[dict[str, Any]]]

COLUMNS = ("HOTA", "DetA", "DetRe", "DetPr", "AssA", "IDF1", "IDSW", "map_50", "frames_per_second")
TITLES = {"map_50": "mAP50", "frames_per_second": "frames/s"}
DECIMALS = {"IDSW": 0, "frames_per_second": 1}
DRAWN = ("HOTA", "IDF1", "map_50")


def points_of(entries: Sequence[Entry], dataset: str) -> Points:
    """The scores of all seeds by system and minutes, the systems in the order in which they came."""
    points: Points = defaultdict(list)
    for entry in entries:
        if entry["dataset"] == dataset:
            for system, scores in entry["scores"].items():
                of_run = {name: entry[name] for name in ("real_minutes", "ended_by_itself")}
                points[system, float(entry["minutes"])].append(scores | of_run)
    return dict(points)


def markdown(entries: Sequence[Entry]) -> str:
    """A table per data set, medians over the seeds; in brackets the lowest and the highest."""
    blocks = []
    for dataset in dict.fromkeys(entry["dataset"] for entry in entries):
        heads = ["system", "minutes", "trained", "seeds", *(TITLES.get(name, name) for name in COLUMNS), "threshold"]
        lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
        points = points_of(entries, dataset)
        for system, minutes in sorted(points, key=lambda key: key[1]):
            lines.append(f"| {' | '.join(_cells(system, minutes, points[system, minutes]))} |")
        blocks.append(f"## {dataset}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(blocks)


def _cells(system: str, minutes: float, seeds: list[dict[str, Any]]) -> list[str]:
    trained = f"{median(scores['real_minutes'] for scores in seeds):.1f}"
    num_stopped = sum(not scores["ended_by_itself"] for scores in seeds)
    trained += f" ({num_stopped} stopped)" if num_stopped else ""
    values = [_cell(name, [scores[name] for scores in seeds if name in scores]) for name in COLUMNS]
    thresholds = sorted({scores["threshold"] for scores in seeds})
    return [system, f"{minutes:g}", trained, str(len(seeds)), *values, ", ".join(f"{value:g}" for value in thresholds)]


def _cell(name: str, values: list[float]) -> str:
    if not values:
        return ""
    decimals = DECIMALS.get(name, 3)
    middle = f"{median(values):.{decimals}f}"
    is_spread = len(values) > 1 and name in ("HOTA", "IDF1")
    return f"{middle} ({min(values):.{decimals}f}-{max(values):.{decimals}f})" if is_spread else middle


def draw(entries: Sequence[Entry], dataset: str, path: Path) -> None:
    """Scores against minutes: a line through the medians, which are dashes, and a dot for each seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = points_of(entries, dataset)
    figure = Figure(figsize=(4.2 * len(DRAWN), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(DRAWN), squeeze=False)[0]
    systems = list(dict.fromkeys(system for system, _ in points))
    for axis, name in zip(axes, DRAWN, strict=True):
        for number, system in enumerate(systems):
            budgets = sorted(minutes for other, minutes in points if other == system)
            values = [[scores[name] for scores in points[system, minutes]] for minutes in budgets]
            medians = [median(seeds) for seeds in values]
            axis.plot(budgets, medians, marker="_", markersize=18, color=f"C{number}", label=system)
            for minutes, seeds in zip(budgets, values, strict=True):
                axis.plot([minutes] * len(seeds), seeds, "o", color=f"C{number}", markersize=4, alpha=0.6)
        ticks = sorted({minutes for _, minutes in points})
        axis.set(xlabel="minutes of training", title=TITLES.get(name, name), ylim=(0, 1), xscale="log")
        axis.set_xticks(ticks, [f"{minutes:g}" for minutes in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    figure.suptitle(dataset)
    with NewFile(path) as file:
        figure.savefig(file.part, dpi=110, format="png")
        file.place()


def write_report(entries: Sequence[Entry], results: Path) -> list[Path]:
    """Writes the table and a picture per data set beside the file of results, and returns their paths."""
    table = results.with_suffix(".md")
    with NewFile(table) as file:
        file.part.write_text(markdown(entries))
        file.place()
    paths = [table]
    for dataset in dict.fromkeys(entry["dataset"] for entry in entries):
        paths.append(results.with_name(f"{results.stem}_{dataset}.png"))
        draw(entries, dataset, paths[-1])
    return paths
