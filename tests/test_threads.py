"""Global states under threads: BLAS threads and autograd's trace stack."""

import sys
import threading

import numpy as np
import pytest
from autograd import grad
from helpers import draw
from threadpoolctl import ThreadpoolController, threadpool_info

from skcode.flow import flow
from skcode.utils._blas import _libraries, single_threaded_blas
from skcode.utils._blocks import OrderedMap
from skcode.utils._tracing import paused, tracing


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture
def two_blas_threads():
    """BLAS with two threads, set by nobody who is still there."""
    controller, limiters = ThreadpoolController(), []
    run_together(lambda: limiters.append(controller.limit(limits=2, user_api="blas")))
    if blas_threads() != {2}:
        pytest.skip("this BLAS runs one thread")
    yield
    run_together(limiters[0].restore_original_limits)


@pytest.fixture
def eager_switches():
    """Threads that take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def run_together(*functions):
    """Run functions in threads of their own; raise what they raise."""
    errors = []

    def guarded(function):
        try:
            function()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


def test_blas_has_one_thread_inside_and_its_own_after(two_blas_threads):
    with single_threaded_blas():
        assert blas_threads() == {1}
        with single_threaded_blas():
            assert blas_threads() == {1}
        assert blas_threads() == {1}
    assert blas_threads() == {2}
    with pytest.raises(KeyError), single_threaded_blas():
        raise KeyError
    assert blas_threads() == {2}
    with OrderedMap(2) as mapper:
        assert blas_threads() == {1}
        assert list(mapper(blas_threads, [(), ()])) == [{1}, {1}]
    assert blas_threads() == {2}


@pytest.mark.parametrize("name", ["full rank", "functions"])
def test_two_threads_differentiate_at_once(name, eager_switches):
    fields = draw(name)
    rng = np.random.default_rng(0)
    x, controls = rng.standard_normal((5, 3)), rng.standard_normal((3, 2, fields.n_fields))

    def gradient(u):
        with tracing():
            return grad(lambda u: (flow(fields, x, u, "heun") ** 2).sum())(u)

    exact = [gradient(u) for u in controls]

    def check(u, true):
        for _ in range(60):
            np.testing.assert_array_equal(gradient(u), true)

    run_together(
        *(lambda u=u, true=true: check(u, true) for u, true in zip(controls, exact, strict=True))
    )


def test_one_thread_traces_at_a_time():
    inside, overlaps, entered = [], [], threading.Event()

    def trace():
        with tracing(), tracing():
            inside.append(None)
            overlaps.append(len(inside))
            entered.wait(0.01)
            inside.pop()

    run_together(*[trace] * 4)
    assert overlaps == [1] * 4


def test_a_pause_lets_another_thread_trace_and_ends_when_it_is_done():
    paused_now, traced = threading.Event(), threading.Event()
    order = []

    def outer():
        with tracing():
            with paused():
                paused_now.set()
                assert traced.wait(30)
            order.append("outer resumes")

    def inner():
        assert paused_now.wait(30)
        with tracing():
            order.append("inner traces")
            traced.set()

    run_together(outer, inner)
    assert order == ["inner traces", "outer resumes"]


def test_an_error_frees_the_trace():
    with pytest.raises(KeyError), tracing():
        raise KeyError
    with pytest.raises(KeyError), tracing(), paused():
        raise KeyError
    run_together(lambda: tracing().__enter__())


def test_a_pause_outside_a_trace_does_nothing():
    with paused(), tracing(), paused(), paused():
        pass


def test_the_limit_holds_from_any_thread():
    seen = []

    def look():
        with single_threaded_blas():
            seen.append([library.get_num_threads() for library in _libraries()])

    look()
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert all(n == 1 for threads in seen for n in threads)
