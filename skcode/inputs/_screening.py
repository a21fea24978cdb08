"""Which of very many columns tell something of the outputs, and whether all of them do."""

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
#: strengths of ridge regressions, in units of the variance of scaled columns
_STRENGTHS = np.logspace(-5, 1, 7)
#: standard errors by which all columns have to predict better, and the share of errors they save
_ERRORS = 3.0
_SAVED = 0.05


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


def all_columns_tell(
    z: FloatArray, coordinates: FloatArray, outputs: FloatArray, weight: FloatArray
) -> bool:
    """Whether linear regression knows much more from all columns than from some coordinates.

    Where each of many columns has a part in a sum, neither few of them nor the directions in which
    they vary most hold that sum. Errors of rows that are left out tell, in closed form.

    Parameters
    ----------
    z : ndarray of shape (n, p)
        Scaled inputs.
    coordinates : ndarray of shape (n, q)
        What stands for them.
    outputs : ndarray of shape (n, K)
        Targets as numbers.
    weight : ndarray of shape (n,)
        Weights.

    Returns
    -------
    bool

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.inputs import all_columns_tell
    >>> z = np.random.default_rng(0).standard_normal((300, 40))
    >>> all_columns_tell(z, z[:, :30], z.sum(axis=1, keepdims=True), np.ones(300))
    True
    >>> all_columns_tell(z, z[:, :30], z[:, :20].sum(axis=1, keepdims=True), np.ones(300))
    False
    """
    share = weight / weight.sum()
    if outputs.shape[1] > _MOST_OUTPUTS:
        mixture = np.random.default_rng(0).standard_normal((outputs.shape[1], _MOST_OUTPUTS))
        outputs = outputs @ mixture
    targets = outputs - share @ outputs
    deviation = np.sqrt(share @ targets**2)
    targets = (targets / np.where(deviation > 0, deviation, 1))[:, deviation > 0]
    if not targets.shape[1]:
        return False
    with_some, with_all = (_left_out_errors(x, targets, share) for x in (coordinates, z))
    saved = with_some - with_all
    gain = float(share @ saved)
    error = float(np.sqrt(share**2 @ (saved - gain) ** 2))
    return gain > _ERRORS * error and gain > _SAVED * float(share @ with_some)


def _left_out_errors(x: FloatArray, targets: FloatArray, share: FloatArray) -> FloatArray:
    """Mean squares (n,) of the errors of the best ridge regression at rows that it leaves out.

    With x = U S V^T, rows times the roots of their weights, a regression of strength a has the hat
    matrix U S^2 / (S^2 + a) U^T; residuals divided by one less its diagonal are those left out.
    """
    root = np.sqrt(share)[:, None]
    U, S, _ = np.linalg.svd(root * (x - share @ x), full_matrices=False)
    best: FloatArray = np.full(len(x), np.inf)
    along, squares = U.T @ (root * targets), S[:, None] ** 2
    for strength in _STRENGTHS:
        kept = squares / (squares + strength)
        residuals = targets - U @ (kept * along) / root
        # the mean of the targets, which has seen each, has a hat matrix too
        left_out = residuals / (1 - share[:, None] - U**2 @ kept)
        errors = np.mean(left_out**2, axis=1)
        if share @ errors < share @ best:
            best = errors
    return best
