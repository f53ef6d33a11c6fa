"""Runs commands as a user would, each in a process of its own, and says how long they trained."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


class CommandError(RuntimeError):
    """A command failed; the message ends with what it said last."""


def thread_environment(threads: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with a number of threads, the same for every system."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return os.environ | dict.fromkeys(names, str(threads)) | dict(extra or {})


def within_repository(text: str) -> str:
    """A text whose paths begin in the repository, so that it can be published."""
    return text.replace(f"{REPOSITORY}{os.sep}", "")


def run(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> str:
    """Runs a command in the repository and returns what it printed, which a log file keeps.

    Raises:
        CommandError: it failed.
    """
    return _finished(_start(command, log, environment), command, log, allowed=(0,))


def run_limited(command: Sequence[str], log: Path, environment: Mapping[str, str], begin: Path, seconds: float) -> bool:
    """Runs a training, and sends SIGTERM to one that takes too long, on which it saves, unless it is about to end.

    Args:
        command: of the training.
        log: file for what it prints.
        environment: of the process.
        begin: the file whose writing is the training's begin.
        seconds: from then on.

    Returns:
        whether it ended by itself.

    Raises:
        CommandError: it failed.
    """
    process = _start(command, log, environment)
    in_time = True
    with _killed_on_error(process):
        while process.poll() is None:
            time.sleep(0.2)
            if in_time and begin.is_file() and time.time() - begin.stat().st_mtime > seconds:
                in_time = False
                process.send_signal(signal.SIGTERM)
    _finished(process, command, log, allowed=(0,) if in_time else (0, 143, -signal.SIGTERM))
    return in_time


def minutes_between(begin: Path, end: Path) -> float:
    """From the writing of a run's settings to that of its last weights: the training, of whatever system."""
    return (end.stat().st_mtime - begin.stat().st_mtime) / 60


def _start(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        return subprocess.Popen(command, cwd=REPOSITORY, env=dict(environment), stdout=output, stderr=subprocess.STDOUT)


@contextmanager
def _killed_on_error(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ctrl-C included: nothing goes on behind the user's back."""
    try:
        yield
    except BaseException:
        process.kill()
        process.wait()
        raise


def _finished(process: subprocess.Popen[bytes], command: Sequence[str], log: Path, allowed: Sequence[int]) -> str:
    with _killed_on_error(process):
        code = process.wait()
    said = log.read_text(errors="replace")
    if code not in allowed:
        raise CommandError(f"{' '.join(command)}\nended with {code}; {log} ends with\n{said[-2000:]}")
    return said
