"""Data sets of the tabular benchmark: where they come from, their halves, how they are split."""

from functools import lru_cache
from hashlib import sha1
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

OPENML_PREFIX = "openml:"
RAW_PREFIX = "raw:"
TEST_FRACTION = 0.25
SIZE_BOUNDS = 1000, 3000  # training rows; small sets lie below the first, large above the second
SIZE_GROUPS = "< 1,000 rows", "1,000 to 3,000", "> 3,000"


class Dataset(NamedTuple):
    """A data set in memory: features, and a target that tells the task.

    The features are a dense array, or, for a raw table, a data frame with categories, booleans
    and missing values as they are.
    """

    X: Any
    y: np.ndarray

    @property
    def task(self):
        """Integer targets are class codes, floating-point targets are regression."""
        return "classification" if self.y.dtype.kind in "iub" else "regression"


def list_sets(folder):
    """Names of the data sets ``NAME.npz`` in a folder, sorted."""
    return sorted(path.stem for path in Path(folder).glob("*.npz"))


def list_tables(folder):
    """Names of the raw tables ``NAME.parquet`` in a folder, as ``raw:NAME``, sorted."""
    return sorted(RAW_PREFIX + path.stem for path in Path(folder).glob("*.parquet"))


def half_of(name):
    """Half "A" or "B" of a set: defaults are chosen on A and confirmed on B.

    The first byte of the sha1 of the name decides, even for A and odd for B. A raw table
    and the numbers that were made of it have one name, and so are in the same half.
    """
    digest = sha1(name.removeprefix(RAW_PREFIX).encode()).digest()
    return "AB"[digest[0] % 2]


def size_group(n_train):
    """Index in `SIZE_GROUPS` of a set with so many training rows."""
    smallest, largest = SIZE_BOUNDS
    return int(n_train >= smallest) + int(n_train > largest)


@lru_cache(maxsize=2)
def load(name, folder=None, raw=None):
    """Load a data set with class codes or float64 targets.

    Parameters
    ----------
    name : str
        ``NAME`` for the file ``NAME.npz`` with arrays ``X`` and ``y``, ``raw:NAME`` for the
        file ``NAME.parquet`` with a column ``target``, or ``openml:ID``.
    folder, raw : str or None
        Where the files of the two kinds are; not needed for OpenML.

    Returns
    -------
    Dataset
    """
    if name.startswith(OPENML_PREFIX):
        return _load_openml(int(name.removeprefix(OPENML_PREFIX)))
    if name.startswith(RAW_PREFIX):
        return _load_table(Path(raw) / f"{name.removeprefix(RAW_PREFIX)}.parquet")
    with np.load(Path(folder) / f"{name}.npz", allow_pickle=False) as arrays:
        return Dataset(arrays["X"].astype(np.float64), arrays["y"])


def _load_table(path):
    """Read a raw table; a target of numbers is regression, any other one classification."""
    import pandas as pd

    table = pd.read_parquet(path)
    table = table[table["target"].notna()].reset_index(drop=True)
    return Dataset(table.drop(columns="target"), _target(table["target"]))


def _target(y):
    """Numbers as float64, anything else as codes of the sorted classes."""
    import pandas as pd
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_numeric_dtype(y) and not is_bool_dtype(y):
        return y.to_numpy(np.float64)
    return pd.factorize(y, sort=True)[0]


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

    return Dataset(X.to_numpy(), _target(y))


def split(data, seed, max_train, max_test):
    """Split into a training and a test part.

    The test part is a quarter of the shuffled rows; for classification both parts
    are stratified, and the training part has at least one row of each class, also
    after it is cut to its maximal size.

    Parameters
    ----------
    data : Dataset
    seed : int
    max_train, max_test : int or None
        Upper bounds on the number of rows; None for all.

    Returns
    -------
    X_train, X_test, y_train, y_test : ndarray, or frames in place of X
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
    X_train, X_test = (
        data.X[rows] if isinstance(data.X, np.ndarray) else data.X.iloc[rows].reset_index(drop=True)
        for rows in (train, test)
    )
    return X_train, X_test, y[train], y[test]


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
