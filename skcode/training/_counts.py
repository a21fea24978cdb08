"""How many observations each row stands for, one of which at a time is left out.

Whole weights may count observations, but as well they may be prices, exposures, or what makes up
for a rare class; and rows are copied for the same reasons. If a copy stayed where another one is
left out, what is left out would be known.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skcode.gaussian_process import Evidence
from skcode.model import Target
from skcode.training._flow_targets import FlowTargets
from skcode.training._rows import CANONICAL_ROWS, LARGEST_WEIGHT, RawRows, Rows
from skcode.utils._typing import Array, FloatArray, IntArray
from skcode.utils._unique_rows import row_keys, sparse_row_keys

#: observations of a row, on average, from which on rows come again as a rule. Where fewer do, they
#: are those of which all is known anyway, and the noise of the others would seem less than it is
_OFTEN = 2.0
#: values of a column up to which they are few, however few rows there are
_FEW_VALUES = 12
#: share of all weight from which on a row stands for several observations in any table,
_LEAST_SHARE = 0.05
#: and how many times the median weight it has to be
_OUTSTANDING = 8.0
#: rows by whose evidence counts and exposures are told apart
_EVIDENCE_ROWS = 400
#: share of the rows that have to count as several
_MOST = 0.5
#: nats by which exposures have to be more probable
_NATS = 4.0


def counts_of(rows: RawRows, strata: IntArray | None) -> FloatArray:
    """How many observations (n,) each row stands for.

    A row counts as several only where nature repeats rows as well:

    - where rows come again as a rule, in a table all of whose columns take few values, as an
      experiment at a few levels has them;
    - where the same inputs come with other targets too;
    - where a single row makes up much of the weight, as that of zeros alone does.

    If all rows of a class have multiples of some number, that number is no count. Where weights are
    not whole, rows that were merged are what is counted.

    Parameters
    ----------
    rows : RawRows
        Rows of which no two are equal, where they are few, before classes have weights.
    strata : ndarray of shape (n,), int, or None
        Classes of the rows.
    """
    table, _, weight, copies = rows
    n = len(weight)
    ones = np.broadcast_to(1.0, n)
    if weight.strides == (0,) or n > CANONICAL_ROWS or not weight.max() <= LARGEST_WEIGHT:
        return ones
    number = weight if np.all(weight == np.rint(weight)) else copies
    if number.max() == 1:
        return ones
    if number.sum() >= _OFTEN * n and _takes_few_values(table):
        several = np.ones(n, dtype=bool)
    else:
        keys = sparse_row_keys(table) if sparse.issparse(table) else row_keys(table)
        _, at, n_targets = np.unique(keys, return_inverse=True, return_counts=True)
        outstanding = max(_LEAST_SHARE * number.sum(), _OUTSTANDING * float(np.median(number)))
        several = (n_targets[at] > 1) | (number >= outstanding)
    if not several.any():
        return ones
    counts = np.ones(n)
    whole = number.astype(np.int64)
    strata = np.zeros(n, dtype=int) if strata is None else strata
    for stratum in np.unique(strata):
        among = strata == stratum
        here = among & several
        # a class of one row has no other one to be compared with
        factor = np.gcd.reduce(whole[among]) if np.count_nonzero(among) > 1 else 1
        counts[here] = whole[here] / factor
    return counts


def _takes_few_values(table: Array) -> bool:
    """Whether all columns of a table (n, p) do: few ones, or most of those of a regular grid.

    A factorial experiment of two factors has as many levels as the root of its rows.
    """
    if sparse.issparse(table):
        return False
    most = max(_FEW_VALUES, 2 * len(table) ** 0.5)
    for j in range(table.shape[1]):
        values = np.unique(np.asarray(table[:, j], dtype=np.float64))
        if len(values) > most and not _is_grid(values[~np.isnan(values)]):
            return False
    return True


def _is_grid(values: FloatArray) -> bool:
    """Whether ascending values are most of the places of a regular grid, as ages in years are."""
    steps = np.diff(values)
    least = float(steps.min())
    places = np.rint(steps / least)
    return bool(places.sum() < 2 * len(values) and np.allclose(steps, places * least, rtol=1e-6))


def without_exposures(rows: Rows, target: Target) -> Rows:
    r"""Rows that stand for one observation each, if what most are counted by looks like exposures.

    The mean of s measurements has noise of variance :math:`\sigma^2 / s`, where s observations of a
    law have none: what a smooth function leaves of their targets is the law itself, and no larger
    where they are few. So two processes are compared by their evidence, one whose noise falls with
    the weights, and one whose noise is the same everywhere. Where the same inputs come with several
    targets these were observed, and counts stay.
    """
    n = len(rows.y)
    if n < 2 or rows.counts.strides == (0,) or np.mean(rows.counts > 1) < _MOST:
        return rows
    if _disagree(rows.X):
        return rows
    some = np.sort(np.random.default_rng(0).permutation(n)[:_EVIDENCE_ROWS])
    X, outputs, weight, _ = FlowTargets.learn(target, rows, 1).observations(rows, some)
    z = X.astype(np.float64) - X.mean(axis=0)
    deviation = z.std(axis=0)
    z = z[:, deviation > 0] / deviation[deviation > 0]
    costs = []
    for each in (weight / weight.mean(), np.ones(len(z))):
        evidence = Evidence(z, outputs, each)
        costs.append(evidence(evidence.maximise())[0])
    if costs[0] > costs[1] - _NATS:
        return rows
    return Rows.single(rows.X, rows.y, rows.weight)


def _disagree(X: Array) -> bool:
    """Whether rows, which differ with their targets, are equal without them."""
    return len(np.unique(row_keys(X))) < len(X)
