"""Threads of our own: results in order, few at a time, one for the matrix library."""

import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from otf.threads import in_order, one_blas_thread, thread_count


@pytest.mark.parametrize("number", ["1", "3"])
def test_results_come_in_the_order_of_the_items(monkeypatch, number):
    monkeypatch.setenv("OMP_NUM_THREADS", number)
    assert list(in_order(lambda x: x * x, range(50))) == [x * x for x in range(50)]


def test_the_number_of_threads_is_the_one_asked_for(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_count() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "5,2")  # nested levels
    assert thread_count() == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert thread_count() >= 1


def test_items_are_worked_on_at_the_same_time(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    both = threading.Barrier(2, timeout=10.0)
    assert len(list(in_order(lambda _: both.wait(), range(4)))) == 4


def test_few_results_wait_when_nobody_takes_them(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    started = []
    results = in_order(started.append, range(100))
    next(results)
    assert len(started) <= 3
    results.close()


def test_an_error_in_a_thread_reaches_the_caller(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda x: 1 // x, [1, 2, 0, 3]))


def test_threads_within_threads_take_their_items_one_after_the_other(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")

    def inner(x):
        return [(y, threading.get_ident()) for y in in_order(lambda z: x + z, [1, 2])]

    for x, found in enumerate(in_order(inner, range(4))):
        assert [y for y, _ in found] == [x + 1, x + 2]
        assert len({thread for _, thread in found}) == 1


def test_an_iteration_that_is_given_up_leaves_no_work_behind(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    running = []

    def work(x):
        running.append(x)
        time.sleep(0.01)
        running.remove(x)

    results = in_order(work, range(100))
    next(results)
    results.close()
    assert running == []


def test_the_matrix_library_has_one_thread_inside_and_all_of_them_after():
    def blas():
        infos = [i for i in threadpool_info() if i["user_api"] == "blas"]
        return [i["num_threads"] for i in infos]

    np.ones((2, 2)) @ np.ones((2, 2))
    before = blas()
    with one_blas_thread():
        assert set(blas()) == {1}
    assert blas() == before
