"""Which test files there are, a keyboard, and what every test leaves of matplotlib: nothing."""

import os
import signal
import sys
from importlib.util import find_spec

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
# what older versions of scikit-learn lack is not tested there
collect_ignore = [] if find_spec("sklearn.callback") else ["test_callbacks.py"]


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def keyboard():
    """A process that was started in the background ignores Ctrl-C, unless told otherwise."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
