"""Work on one device after another, as many at a time as there are cores. Used by whatever passes over a history.

What takes long, torch and what is `compiled`, leaves the interpreter to other threads meanwhile.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def threaded(function: Callable[[T], R], items: Iterable[T], cores: int | None = None) -> Iterator[R]:
    """The results in the order of the items, whichever is ready first. Few wait to be taken, so that few are held.

    cores: as many at a time; all that there are where None.
    """
    cores = cores or len(os.sched_getaffinity(0))
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(cores, "train") as pool:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * cores:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
