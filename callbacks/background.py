"""Work beside the device's: calls in a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec

P = ParamSpec("P")


class Background:
    """Runs calls one after another in a thread of its own.

    Few calls wait at a time: where the thread does not keep up, `submit` blocks. After a call has raised, none runs any
    more, and the next `submit` or `finish` raises its exception.

    Args:
        max_waiting: calls that wait at most.
    """

    def __init__(self, max_waiting: int = 8) -> None:
        self._max_waiting = max_waiting
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="background")
        self._waiting: deque[Future[None]] = deque()
        self._has_failed = False

    def submit(self, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Has a call run after those before it."""
        self._waiting.append(self._executor.submit(self._run, call, *args, **kwargs))
        while self._waiting and (self._waiting[0].done() or len(self._waiting) > self._max_waiting):
            self._waiting.popleft().result()

    def finish(self) -> None:
        """Waits for all calls and ends the thread."""
        while self._waiting:
            self._waiting.popleft().result()
        self._executor.shutdown()

    def abandon(self) -> None:
        """Waits for the calls, whatever comes of them, and ends the thread."""
        self._executor.shutdown()

    def _run(self, call: Callable[P, None], /, *args: P.args, **kwargs: P.kwargs) -> None:
        if self._has_failed:
            return
        try:
            call(*args, **kwargs)
        except BaseException:
            self._has_failed = True
            raise
