"""What is kept of runs, which is why none is repeated: trainings in their folders, scores in one file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from scene_model.errors import UserError
from scene_model.files import NewFile

Entry = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training and its scores.

    Args:
        dataset: name of the data.
        system: name of what is trained.
        minutes: of training.
        seed: of weights and order.
    """

    dataset: str
    system: str
    minutes: float
    seed: int

    @property
    def folder_name(self) -> str:
        """A name for its files."""
        words = f"{self.dataset} {self.system} {self.minutes:g}min seed{self.seed}"
        return "".join(character if character.isalnum() or character == "." else "_" for character in words)

    @classmethod
    def of(cls, entry: Entry) -> Run:
        """The run that an entry is the result of."""
        return cls(entry["dataset"], entry["system"], float(entry["minutes"]), int(entry["seed"]))


def planned(dataset: str, systems: Sequence[str], minutes: Iterable[float], seeds: Iterable[int]) -> list[Run]:
    """All runs, seed by seed; which system comes first changes from seed to seed and from budget to budget."""
    runs = []
    for turn, (seed, budget) in enumerate(product(seeds, minutes)):
        first = turn % len(systems)
        runs += [Run(dataset, system, budget, seed) for system in (*systems[first:], *systems[:first])]
    return runs


@dataclass(frozen=True)
class KeptTraining:
    """A finished training in the folder of its run: after a kill it is only scored, and other code can score it again.

    Args:
        folder: of the run.
        identity: what an entry must say of it.
    """

    folder: Path
    identity: Entry

    @property
    def _path(self) -> Path:
        return self.folder / "training.json"

    def read(self, of_revision: str | None) -> Entry | None:
        """What an entry says of the training, without scores; None if it is not finished or another one.

        Args:
            of_revision: the one that must have trained; None: any.
        """
        if not self._path.is_file():
            return None
        entry: Entry = json.loads(self._path.read_text())
        expected = self.identity | ({} if of_revision is None else {"revision": of_revision})
        return entry if all(entry.get(name) == value for name, value in expected.items()) else None

    def write(self, done: Entry) -> Entry:
        """Takes a training that is finished, and returns what an entry says of it."""
        entry = self.identity | done
        _write(self._path, entry)
        return entry


class ResultsFile:
    """Finished runs in a JSON file, which is whole at all times.

    Args:
        path: the file; it may be missing.

    Raises:
        UserError: the file holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[Entry] = self._read() if path.is_file() else []

    def _read(self) -> list[Entry]:
        try:
            entries: list[Entry] = json.loads(self.path.read_text())["entries"]
            for entry in entries:
                Run.of(entry)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.path}: expected the results of earlier runs ({error!r})") from error
        return entries

    def holds(self, run: Run, settings: dict[str, Any]) -> bool:
        """Whether a run is finished.

        Args:
            run: the run.
            settings: all else that its scores depend on.

        Raises:
            UserError: this run of the system, or one of other minutes or another seed, has other settings.
        """
        for entry in self.entries:
            other = Run.of(entry)
            if (other.dataset, other.system) == (run.dataset, run.system):
                self._require_same(other, entry["settings"], settings)
        return any(Run.of(entry) == run for entry in self.entries)

    def _require_same(self, run: Run, earlier: dict[str, Any], settings: dict[str, Any]) -> None:
        for name, value in earlier.items():
            if settings.get(name) != value:
                raise UserError(
                    f"{self.path}: holds {run.folder_name} with {name} {value}, now it is {settings.get(name)}: "
                    "expected another name of the system or another file for --results"
                )

    def add(self, entry: Entry) -> None:
        """Takes a finished run, in the place of an older one of the same name, and writes the file."""
        self.entries = [other for other in self.entries if Run.of(other) != Run.of(entry)] + [entry]
        _write(self.path, {"entries": self.entries})


def _write(path: Path, content: dict[str, Any]) -> None:
    with NewFile(path) as file:
        file.part.write_text(json.dumps(content, indent=1) + "\n")
        file.place()
