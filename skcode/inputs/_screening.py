"""Which of very many columns tell something of the outputs."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from skcode.utils._typing import FloatArray, IntArray

#: trees that look at the columns. Fewer leave importances to chance, more take time that the fit of
#: a wide table feels
_TREES = 50
#: share of the columns that a split chooses from. All would show one of several alike, few let
#: splits fall to columns that tell nothing
_COLUMNS_OF_A_SPLIT = 1 / 3
#: least rows of a leaf: shallow trees, since columns are compared and nothing is predicted. Smaller
#: leaves take time and split noise, much larger ones miss columns that act together with others
_LEAF_ROWS = 20
#: a leaf has no more than this share of the rows, where rows are few
_LEAF_SHARE = 0.02
#: times the median importance that a column needs: columns without a part in the outputs, which
#: most are where the others stand out, have about the median, and few have twice as much where
#: rows are many
_TELLING = 2.0
#: rows that a tree draws where there are many: trees that see other rows find together what each
#: would find in all, in a fraction of the time
_ROWS_OF_A_TREE = 2048
#: so many are many; the map of the inputs hands over no more
_MANY_ROWS = 4096
#: outputs that the trees look at: of more, random mixtures
_MOST_OUTPUTS = 8


def telling_columns(z: FloatArray, outputs: FloatArray, share: FloatArray, most: int) -> IntArray:
    """Columns that a forest finds to matter far more than most, in rising order.

    Trees also find columns that act only together with others, which correlations miss.

    Parameters
    ----------
    z : ndarray of shape (n, p)
        Scaled inputs.
    outputs : ndarray of shape (n, K)
        Targets as numbers.
    share : ndarray of shape (n,)
        Weights of the rows, of sum one.
    most : int
        The largest number of columns.

    Returns
    -------
    ndarray of shape (q,), int

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.inputs import telling_columns
    >>> z = np.random.default_rng(0).standard_normal((600, 40))
    >>> outputs = z[:, [5]] + z[:, [8]] ** 2
    >>> telling_columns(z, outputs, np.full(600, 1 / 600), most=2).tolist()
    [5, 8]
    """
    rng = np.random.default_rng(0)
    if outputs.shape[1] > _MOST_OUTPUTS:
        outputs = outputs @ rng.standard_normal((outputs.shape[1], _MOST_OUTPUTS))
    if not np.ptp(outputs, axis=0).any():
        return np.empty(0, dtype=np.intp)
    many = len(z) >= _MANY_ROWS
    n = _ROWS_OF_A_TREE if many else len(z)
    # a share of the rows by weight: repeating rows is weighing them
    leaf = max(min(_LEAF_ROWS / n, _LEAF_SHARE), 1 / n)
    forest = ExtraTreesRegressor(
        _TREES,
        max_features=_COLUMNS_OF_A_SPLIT,
        min_weight_fraction_leaf=leaf,
        bootstrap=many,
        max_samples=n if many else None,
        random_state=0,
    )
    # outputs of one size, so that the trees see each of them
    deviation = np.sqrt(share @ (outputs - share @ outputs) ** 2)
    outputs = outputs / np.where(deviation > 0, deviation, 1)
    forest.fit(z, outputs if outputs.shape[1] > 1 else outputs[:, 0], sample_weight=share)
    importance = forest.feature_importances_
    first = np.argsort(-importance, kind="stable")[:most]
    telling: IntArray = np.sort(first[importance[first] > _TELLING * np.median(importance)])
    return telling
