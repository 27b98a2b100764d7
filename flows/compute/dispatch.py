"""Hand out work to workers as they become free. Work of a lost worker is done again by another."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
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

    @property
    def done(self) -> bool:
        """Whether every item is finished."""
        return not self._left

    @property
    def ended(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.done or self._closed

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
    prepare: Callable[[Worker], None] | None = None,
    stop_waiting: Callable[[], None] = lambda: None,
) -> None:
    """Carry out every item by one of the workers, each with one item at a time.

    A worker that raises ChildDied is lost: its item goes to another. It gets more items only where
    `prepare` can replace it.

    Args:
        carry_out: called in a thread of the worker.
        finished: called for each item as it is done, by one thread at a time.
        abandon: called when an item fails, so that calls under way end early.
        attempts: how often an item is begun at most.
        prepare: called before a worker takes an item. ChildDied: it can have no more.
        stop_waiting: called when all is done, so that calls of `prepare` end early.

    Raises:
        ChildDied: an item's attempts are used up, or no worker is left.
        Exception: the first that `carry_out` or `finished` raised otherwise.
    """
    queue = WorkQueue(items, attempts)
    hand_out = _HandOut(queue, carry_out, finished, prepare, stop_waiting)
    busy = workers[: len(items)]
    with ThreadPoolExecutor(max(1, len(busy)), thread_name_prefix="dispatch") as threads:
        running = [threads.submit(hand_out.work, worker) for worker in busy]
        try:
            ended, _ = wait(running, return_when=FIRST_EXCEPTION)
            lost = [error for each in ended if (error := each.result()) is not None]
        except BaseException:
            queue.close()
            abandon()
            raise
    if lost and not queue.done:
        raise lost[-1]


@dataclass(frozen=True)
class _HandOut(Generic[Worker, Item, Result]):
    """What a thread of each worker does; the arguments are those of `dispatch`."""

    queue: WorkQueue[Item]
    carry_out: Callable[[Worker, Item], Result]
    finished: Callable[[Worker, Item, Result], None]
    prepare: Callable[[Worker], None] | None
    stop_waiting: Callable[[], None]
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def work(self, worker: Worker) -> ChildDied | None:
        """Carry out items until none is left, or the worker is lost: then why."""
        lost = None
        while lost is None and not self.queue.ended:
            lost = self._prepared(worker)
            if lost is None and (taken := self.queue.take()) is not None:
                lost = self._attempt(worker, *taken)
                if self.prepare is not None:
                    lost = None  # it is replaced before its next item
        if self.queue.done:
            self.stop_waiting()
        return lost

    def _prepared(self, worker: Worker) -> ChildDied | None:
        try:
            if self.prepare is not None:
                self.prepare(worker)
        except ChildDied as error:
            return error
        return None

    def _attempt(self, worker: Worker, number: int, item: Item) -> ChildDied | None:
        try:
            result = self.carry_out(worker, item)
        except ChildDied as error:
            if self.queue.give_back(number):
                return error
            raise
        with self.one_at_a_time:
            self.finished(worker, item, result)
        self.queue.finish()
        return None
