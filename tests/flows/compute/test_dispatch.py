"""Work handed out to workers that fail: done once each, by those that live."""

import threading
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_core.errors import BadInput, ChildDied
from flows.compute.dispatch import dispatch

DIED = ChildDied("the child process was killed")


def nothing() -> None:
    """Nothing is under way that could be ended early."""


@settings(deadline=None, max_examples=60)
@given(
    items=st.integers(0, 40),
    workers=st.integers(1, 6),
    deaths=st.dictionaries(st.integers(0, 5), st.integers(0, 12), max_size=5),
)
def test_every_item_is_finished_once_while_a_worker_lives(
    items: int, workers: int, deaths: dict[int, int]
) -> None:
    """deaths: worker → the call in which it dies."""
    calls, finished = Counter[int](), Counter[int]()
    alive = [worker for worker in range(workers) if worker not in deaths]

    def carry_out(worker: int, item: int) -> int:
        calls[worker] += 1
        if deaths.get(worker) == calls[worker] - 1:
            raise DIED
        return item * item

    def publish(_: int, item: int, result: int) -> None:
        assert result == item * item
        finished[item] += 1

    try:
        dispatch(
            range(items), range(workers), carry_out, publish, abandon=nothing, attempts=workers + 1
        )
    except ChildDied:
        assert not alive, "a worker that lives finishes what others left"
        return
    assert finished == Counter(range(items))


def test_an_item_that_ends_its_workers_is_given_up_after_its_attempts() -> None:
    tried = Counter[int]()

    def carry_out(worker: int, item: int) -> None:
        tried[item] += 1
        if item == 2:
            raise DIED

    with pytest.raises(ChildDied):
        dispatch(range(5), range(4), carry_out, lambda *_: None, abandon=nothing, attempts=3)
    assert tried[2] == 3


def test_a_wrong_input_is_tried_once_and_ends_the_others_early() -> None:
    ended, tried = threading.Event(), Counter[int]()

    def carry_out(worker: int, item: int) -> None:
        tried[item] += 1
        if item == 1:
            raise BadInput("no room for this prompt")
        assert ended.wait(10), "the call under way is ended when another fails"
        raise DIED  # as a child that is closed

    with pytest.raises(BadInput, match="no room"):
        dispatch(range(9), range(2), carry_out, lambda *_: None, abandon=ended.set, attempts=3)
    assert tried[1] == 1 and sum(tried.values()) <= 3


def test_free_workers_get_the_next_item_and_none_waits_for_a_slow_one() -> None:
    by_worker, others_done = Counter[int](), threading.Event()
    published = 0

    def carry_out(worker: int, item: int) -> None:
        by_worker[worker] += 1
        if item == 0:
            assert others_done.wait(10), "the other items wait for no slow one"

    def publish(_: int, item: int, result: None) -> None:
        nonlocal published
        published += 1
        if published == 39:
            others_done.set()

    dispatch(range(40), range(3), carry_out, publish, abandon=nothing)
    assert by_worker.total() == 40


def test_what_is_finished_is_published_by_one_at_a_time() -> None:
    inside, most = 0, 0

    def publish(_: int, item: int, result: None) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.001)
        inside -= 1

    dispatch(range(30), range(5), lambda *_: None, publish, abandon=nothing)
    assert most == 1


@settings(deadline=None, max_examples=60)
@given(
    items=st.integers(0, 30),
    workers=st.integers(1, 4),
    deaths=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 12)), max_size=6),
    gone=st.sets(st.integers(1, 3), max_size=3),
)
def test_lost_workers_are_replaced_where_that_is_possible(
    items: int, workers: int, deaths: set[tuple[int, int]], gone: set[int]
) -> None:
    """deaths: worker and the call in which it dies. gone: those that have no replacement."""
    calls, finished, stopped = Counter[int](), Counter[int](), threading.Event()
    lost: set[int] = set()

    def prepare(worker: int) -> None:
        if worker in lost & gone:
            raise DIED

    def carry_out(worker: int, item: int) -> None:
        assert worker not in lost & gone
        calls[worker] += 1
        if (worker, calls[worker]) in deaths:
            lost.add(worker)
            raise DIED

    dispatch(
        range(items),
        range(workers),
        carry_out,
        lambda _, item, __: finished.update([item]),
        abandon=nothing,
        attempts=len(deaths) + 1,
        prepare=prepare,
        stop_waiting=stopped.set,
    )
    assert finished == Counter(range(items)) and (stopped.is_set() or not items)
