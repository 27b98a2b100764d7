"""Hand out work to workers as they become free. Work of a lost worker is done again by another."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from dpo_core.errors import ChildDied

Item = TypeVar("Item")
Result = TypeVar("Result")
Worker = TypeVar("Worker")


class WorkQueue(Generic[Item]):
    """Items in the order in which they begin; each is taken again until it is finished, at most
    `attempts` times. Safe to use from several threads."""

    def __init__(self, items: Sequence[Item], attempts: int = 1) -> None:
        self._waiting = deque(range(len(items)))
        self._items = items
        self._attempts = attempts
        self._tried = [0] * len(items)
        self._left = len(items)
        self._closed = False
        self._changed = threading.Condition()

    def take(self) -> tuple[int, Item] | None:
        """The next item with its number. Waits while others may give theirs back; None when all are
        finished, or the queue is closed."""
        with self._changed:
            while not self._waiting and self._left and not self._closed:
                self._changed.wait()
            if self._closed or not self._left:
                return None
            number = self._waiting.popleft()
            self._tried[number] += 1
            return number, self._items[number]

    def finish(self) -> None:
        """One of the taken items is done."""
        with self._changed:
            self._left -= 1
            self._changed.notify_all()

    def give_back(self, number: int) -> bool:
        """Let another worker take that item next; False if its attempts are used up."""
        with self._changed:
            if self._tried[number] >= self._attempts:
                return False
            self._waiting.appendleft(number)
            self._changed.notify_all()
            return True

    def close(self) -> None:
        """Hand out nothing any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def dispatch(
    items: Sequence[Item],
    workers: Sequence[Worker],
    carry_out: Callable[[Worker, Item], Result],
    finished: Callable[[Worker, Item, Result], None],
    *,
    abandon: Callable[[], None],
    attempts: int = 1,
) -> None:
    """Carry out every item by one of the workers, each with one item at a time.

    A worker that raises ChildDied is lost: it gets no more items, and its item goes to another.

    Args:
        carry_out: called in a thread of the worker.
        finished: called for each item as it is done, by one thread at a time.
        abandon: called when an item fails, so that calls under way end early.
        attempts: how often an item is begun at most.

    Raises:
        ChildDied: an item's attempts are used up, or no worker is left.
        Exception: the first that `carry_out` or `finished` raised otherwise.
    """
    queue = WorkQueue(items, attempts)
    publishing = threading.Lock()

    def work(worker: Worker) -> ChildDied | None:
        while (taken := queue.take()) is not None:
            number, item = taken
            try:
                result = carry_out(worker, item)
            except ChildDied as error:
                if queue.give_back(number):
                    return error
                raise
            with publishing:
                finished(worker, item, result)
            queue.finish()
        return None

    busy = workers[: len(items)]
    with ThreadPoolExecutor(max(1, len(busy)), thread_name_prefix="dispatch") as threads:
        running = [threads.submit(work, worker) for worker in busy]
        try:
            ended, _ = wait(running, return_when=FIRST_EXCEPTION)
            lost = [error for each in ended if (error := each.result()) is not None]
        except BaseException:
            queue.close()
            abandon()
            raise
    if len(lost) == len(busy) and lost:
        raise lost[-1]
