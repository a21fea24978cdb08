"""Data sets of the tabular benchmark and how they are split."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

OPENML_PREFIX = "openml:"
TEST_FRACTION = 0.25


class Dataset(NamedTuple):
    """A data set in memory: dense features, and a target that tells the task."""

    X: np.ndarray
    y: np.ndarray

    @property
    def task(self):
        """Integer targets are class codes, floating-point targets are regression."""
        return "classification" if self.y.dtype.kind in "iub" else "regression"


def list_sets(folder):
    """Names of the data sets ``NAME.npz`` in a folder, sorted."""
    return sorted(path.stem for path in Path(folder).glob("*.npz"))


@lru_cache(maxsize=2)
def load(name, folder=None):
    """Load a data set as float64 features and class codes or float64 targets.

    Parameters
    ----------
    name : str
        ``NAME`` for the file ``NAME.npz`` with arrays ``X`` and ``y``, or
        ``openml:ID``.
    folder : str or None
        Where the files are; not needed for OpenML.

    Returns
    -------
    Dataset
    """
    if name.startswith(OPENML_PREFIX):
        return _load_openml(int(name.removeprefix(OPENML_PREFIX)))
    with np.load(Path(folder) / f"{name}.npz", allow_pickle=False) as arrays:
        return Dataset(arrays["X"].astype(np.float64), arrays["y"])


def _load_openml(data_id):
    """Fetch from OpenML; one-hot the categories, fill gaps with the median."""
    import pandas as pd
    from pandas.api.types import is_numeric_dtype
    from sklearn.datasets import fetch_openml

    X, y = fetch_openml(data_id=data_id, as_frame=True, return_X_y=True)
    labelled = y.notna()
    X, y = X[labelled], y[labelled]

    categorical = [name for name in X if not is_numeric_dtype(X[name])]
    X = pd.get_dummies(X, columns=categorical, dtype=np.float64).astype(np.float64)
    X = X.dropna(axis="columns", how="all")
    X = X.fillna(X.median())

    if is_numeric_dtype(y):
        y = y.to_numpy(np.float64)
    else:
        y = pd.factorize(y, sort=True)[0]
    return Dataset(X.to_numpy(), y)


def split(data, seed, max_train, max_test):
    """Split into a training and a test part.

    The test part is a quarter of the shuffled rows; for classification both parts
    are stratified, and the training part has at least one row of each class, also
    after it is cut to its maximal size.

    Parameters
    ----------
    data : Dataset
    seed : int
    max_train, max_test : int
        Upper bounds on the number of rows.

    Returns
    -------
    X_train, X_test, y_train, y_test : ndarray
        Classes are numbered 0, 1, ... in the order of their codes.
    """
    y = data.y
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    if data.task == "classification":
        y = np.unique(y, return_inverse=True)[1]
        order = order[_stratified_order(y[order], rng)]
    n_test = round(TEST_FRACTION * len(y))
    train = rng.permutation(order[:-n_test][:max_train])
    test = rng.permutation(order[-n_test:])[:max_test]
    return data.X[train], data.X[test], y[train], y[test]


def _stratified_order(codes, rng):
    """Order of the rows of which each leading part is stratified.

    The k-th of the n rows of a class is placed at (k + u) / n with u uniform on
    [0, 1) for each class, and the first row of each class at the very front.
    """
    place = np.empty(len(codes))
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        place[rows] = (np.arange(len(rows)) + rng.uniform()) / len(rows)
        place[rows[0]] = 0.0
    return np.argsort(place, kind="stable")
