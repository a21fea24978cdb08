"""Which test files there are: those of what older versions of scikit-learn lack are left out."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("sklearn.callback") else ["test_callbacks.py"]
