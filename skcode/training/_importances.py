r"""How much each column counts: the mean derivative of the prediction in the scaled column.

.. math:: I_j \propto \sigma_j \sum_n s_n |\langle g_n, \partial S(x_n) / \partial z_j \rangle|

z are the scaled inputs, sigma_j is the deviation of column j of them, s_n are weights of rows, and
S is the mean of the scores of the members. The random covector g_n has the second derivative of the
loss for its covariance: signs for the squared error; for classes log-odds count less where the
prediction is certain. One sweep back a member serves all outputs and all columns.

The points x_n lie between two rows each: the process has kinks at the rows themselves, whose slopes
tell of noise. Absolute values agree with permutation importance better than squares, which few
steep points decide. Median rank correlation with held-out permutation importance (R2, log-loss) on
22 tables: absolute values at rows .78, between rows .80; squares at rows were .04 below on 19.
"""

from __future__ import annotations

import numpy as np

from skcode.model import Ensemble, Target, mean_of
from skcode.training._rows import Rows
from skcode.utils._typing import FloatArray

#: rows that the points start from, where there are more: a fit takes many times the time of their
#: derivatives, and more rows hardly move the ranks of the columns
_ROWS = 128


def feature_importances(ensemble: Ensemble, target: Target, rows: Rows) -> FloatArray:
    """Importances (p,) of the columns, with a sum of one; zeros where no column counts."""
    n = len(rows.X)
    # a source of its own: what else is random does not depend on whether importances are computed
    rng = np.random.default_rng(0)
    some = np.arange(n) if n <= _ROWS else np.sort(rng.choice(n, _ROWS, replace=False))
    X, weight = rows.X[some], rows.weight[some]
    weight = weight / weight.sum()
    input_map = ensemble.input_map
    scaled = input_map.scaled_columns(X).astype(input_map.dtype, copy=False)
    between = rng.random((len(X), 1)).astype(scaled.dtype)
    z = scaled + between * (scaled[rng.permutation(len(X))] - scaled)
    # explosions far out are told where somebody predicts, and a row of them does not count
    with np.errstate(all="ignore"):
        scores = mean_of(ensemble.scores_of_scaled(z))
        curvature = target.loss.hessian(scores, rows.y[some])
        signs = rng.choice([-1.0, 1.0], scores.shape)
        covector = np.sqrt(curvature) * signs
        if target.loss.coupled:
            covector -= curvature * covector.sum(axis=1, keepdims=True)
        gradient = ensemble.column_gradient(z, covector)
    finite = np.isfinite(gradient).all(axis=1)
    z = scaled[finite].astype(np.float64)
    weight = weight[finite]
    mean = weight @ z / max(weight.sum(), np.finfo(float).tiny)
    deviation = np.sqrt(weight @ (z - mean) ** 2)
    importances: FloatArray = deviation * (weight @ np.abs(gradient[finite]))
    total = importances.sum()
    return importances / total if total > 0 else importances
