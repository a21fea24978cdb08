"""Which test files there are, and what every test leaves behind of matplotlib: nothing."""

import os
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
