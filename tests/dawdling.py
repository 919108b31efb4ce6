"""A daemon's other threads, for tests in which nothing may happen at the same time."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Dawdling(Executor):
    """Does another thread's work on the first, and late: when somebody has asked for it so many times, or waits for it.

    Thus a daemon can be frozen as a whole, what it was about to do ends with it, and a seed tells all.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._waiting: list[Task] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        future = Task(self, lambda: fn(*args, **kwargs), self._patience)
        self._waiting.append(future)
        return future

    def catch_up(self, task: "Task") -> None:
        """Do what was submitted, one after another, up to this."""
        while not task.finished:
            self._waiting.pop(0).work()


class Task(Future[Any]):
    """Work that waits for its turn."""

    def __init__(self, executor: Dawdling, what: Callable[[], object], patience: int) -> None:
        super().__init__()
        self._executor, self._what, self._patience = executor, what, patience

    @property
    def finished(self) -> bool:
        return super().done()

    def done(self) -> bool:
        self._patience -= 1
        if self._patience < 0:
            self._executor.catch_up(self)
        return self.finished

    def result(self, timeout: float | None = None) -> Any:
        self._executor.catch_up(self)
        return super().result(timeout)

    def work(self) -> None:
        try:
            self.set_result(self._what())
        except BaseException as error:  # noqa: BLE001  # the end of the process too
            self.set_exception(error)
