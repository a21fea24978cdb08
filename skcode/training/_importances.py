r"""How much each column counts: the mean derivative of the prediction in the scaled column.

.. math:: I_j \propto \sigma_j \sum_n s_n |\langle g_n, \partial S(x_n) / \partial z_j \rangle|

z are the scaled inputs, sigma_j is the deviation of column j of them, s_n are weights of rows, and
S is the mean of the scores of the members. The random covector g_n has the second derivative of the
loss for its covariance: signs for the squared error; for classes log-odds count less where the
prediction is certain. One sweep back a member serves all outputs and all columns.

Between the levels of a category there is nothing, and a derivative there means nothing. So of its
coordinates, all together, those of another row are put in place: I is the root of half of the mean
square of what that changes, which is the deviation of the prediction in the category alone.

The points x_n lie between two rows each: the process has kinks at the rows themselves, whose slopes
tell of noise. Absolute values agree with permutation importance better than squares, which few
steep points decide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skcode.model import Ensemble, Target, mean_of
from skcode.training._rows import Rows
from skcode.utils._typing import FloatArray, IntArray

#: rows that the points start from, where there are more: a fit takes many times the time of their
#: derivatives, and more rows hardly move the ranks of the columns
_ROWS = 128


#: rows that are predicted for all categories together, and for each at least
_ROWS_OF_CATEGORIES = 512
_LEAST_ROWS = 16


def feature_importances(
    ensemble: Ensemble, target: Target, rows: Rows, categories: Sequence[IntArray] = ()
) -> FloatArray:
    """Importances (p,) of the columns of the rows, with a sum of one; zeros where none counts.

    Parameters
    ----------
    ensemble : Ensemble
        What predicts.
    target : Target
        What is predicted.
    rows : Rows
        The training rows.
    categories : sequence of ndarray of int
        Columns that say together which level a category has.
    """
    n = len(rows.X)
    # a source of its own: what else is random does not depend on whether importances are computed
    rng = np.random.default_rng(0)
    some = np.arange(n) if n <= _ROWS else np.sort(rng.choice(n, _ROWS, replace=False))
    X, weight = rows.X[some], rows.weight[some]
    weight = weight / weight.sum()
    input_map = ensemble.input_map
    scaled = input_map.scaled_columns(X).astype(input_map.dtype, copy=False)
    between = rng.random((len(X), 1)).astype(scaled.dtype)
    of_levels: IntArray = np.concatenate([np.zeros(0, int), *categories])
    z = scaled + between * (scaled[rng.permutation(len(X))] - scaled)
    z[:, of_levels] = scaled[:, of_levels]
    # explosions far out are told where somebody predicts, and a row of them does not count
    with np.errstate(all="ignore"):
        scores = mean_of(ensemble.scores_of_scaled(z))
        curvature = target.loss.hessian(scores, rows.y[some])
        signs = rng.choice([-1.0, 1.0], scores.shape)
        covector = np.sqrt(curvature) * signs
        if target.loss.coupled:
            covector -= curvature * covector.sum(axis=1, keepdims=True)
        gradient = ensemble.column_gradient(z, covector)
        n_rows = max(_ROWS_OF_CATEGORIES // max(len(categories), 1), _LEAST_ROWS)
        changes = [
            _change(ensemble, z, scores, covector, weight, category, rng, n_rows)
            for category in categories
        ]
    finite = np.isfinite(gradient).all(axis=1)
    z = scaled[finite].astype(np.float64)
    weight = weight[finite]
    mean = weight @ z / max(weight.sum(), np.finfo(float).tiny)
    deviation = np.sqrt(weight @ (z - mean) ** 2)
    importances: FloatArray = deviation * (weight @ np.abs(gradient[finite]))
    for category, change in zip(categories, changes, strict=True):
        # squares of the coordinates of a column are added up
        importances[category] = change / max(len(category), 1) ** 0.5
    total = importances.sum()
    return importances / total if total > 0 else importances


def _change(
    ensemble: Ensemble,
    z: FloatArray,
    scores: FloatArray,
    covector: FloatArray,
    weight: FloatArray,
    category: IntArray,
    rng: np.random.Generator,
    n_rows: int,
) -> float:
    """Deviation of the prediction in a category alone, by what the level of another row changes."""
    some = rng.permutation(len(z))[:n_rows]
    other = z[some]
    other[:, category] = z[rng.permutation(len(z))[:n_rows]][:, category]
    moved = mean_of(ensemble.scores_of_scaled(other)) - scores[some]
    squares = np.sum(covector[some] * moved, axis=1) ** 2
    # two draws differ by twice the variance of one; a row that explodes does not count
    known = np.isfinite(squares)
    total = max(float(weight[some][known].sum()), np.finfo(float).tiny)
    variance = 0.5 * float(weight[some][known] @ squares[known]) / total
    return float(np.sqrt(variance))
