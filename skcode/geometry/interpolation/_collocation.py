r"""Intervals by collocation: few evaluations of the fields where trajectories are nearly known.

A scheme that goes from point to point takes a dozen evaluations of the fields for each step of
order 8, and several such steps an interval. Where trajectories are unknowns of Newton's method
anyway, fewer times say as much: its slopes F_j at K Gauss nodes c_j give a trajectory

.. math:: x(s) = x_0 + \sum_j F_j \int_0^s l_j,

with Lagrange's polynomials l_j, and its end to the order 2 K, if F_j = V(x(c_j)). Newton's method
takes away the defects g_j = V(x(c_j)) - F_j: trajectories change by the solution of
:math:`\delta' = D \delta + g`, which is :math:`\Phi (\delta_0 + \int \Phi^{-1} g)` with the
derivatives of the flow :math:`\Phi' = D \Phi`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial.legendre import leggauss, legvander

from skcode.geometry.interpolation._batched_fields import BatchedFields
from skcode.geometry.interpolation._matrices import Cascade, applied, inverted, times
from skcode.geometry.interpolation._tuning import COLLOCATION
from skcode.utils._typing import FloatArray, IntArray


class Nodes(NamedTuple):
    """Gauss nodes c (K,) in [0, 1], their weights b and the integrals a_kj of l_j up to c_k."""

    c: FloatArray
    b: FloatArray
    a: FloatArray

    def values(self, s: FloatArray) -> FloatArray:
        """The l_j at the times s: sum_n (2 n + 1) b_j P_n(c_j) P_n, with P_n those on [0, 1]."""
        n = np.arange(len(self.c))
        at_nodes, at_times = (legvander(2 * t - 1, len(n) - 1) for t in (self.c, s))
        values: FloatArray = at_times @ ((2 * n + 1) * at_nodes).T * self.b
        return values


@lru_cache
def gauss_nodes(K: int) -> Nodes:
    """The K Gauss nodes."""
    z, weights = leggauss(K)
    # 2 n + 1 times the integral of P_n is half of P_{n+1} - P_{n-1}, for P_0 half of P_1 + P_0
    P = legvander(z, K)
    integrals = np.column_stack([P[:, 0] + P[:, 1], P[:, 2:] - P[:, :-2]]) / 2
    b = weights / 2
    return Nodes((z + 1) / 2, b, integrals @ P[:, :K].T * b)


def n_nodes(n_steps: IntArray) -> IntArray:
    """How many nodes do as well as so many steps of the scheme of order 8."""
    nodes: IntArray = np.ceil(COLLOCATION.least + COLLOCATION.a_step * n_steps).astype(int)
    return nodes


class _Alike:
    """Those intervals (G,) of a loop that have the same number of nodes.

    F (G, K, N, m) are the slopes of their trajectories at the nodes, D (G, K, N, m, m) the
    derivatives of the fields there, Phi those of the flow from the beginning of the interval.
    """

    def __init__(self, members: IntArray, nodes: Nodes, F: FloatArray):
        self.members, self.nodes, self.F = members, nodes, F
        self.D: FloatArray = np.empty(0)
        self.Phi: FloatArray = np.empty(0)
        self.inverse: FloatArray = np.empty(0)
        self.moves: FloatArray = np.empty(0)

    def at(self, nodes: Nodes, some: IntArray) -> _Alike:
        """The same trajectories of some of the intervals, at other nodes."""
        to = self.nodes.values(nodes.c)
        other = _Alike(self.members[some], nodes, _along(to, self.F[some]))
        other.D, other.Phi = _along(to, self.D[some]), _along(to, self.Phi[some])
        other.inverse = inverted(other.Phi)
        return other

    def points(self, x: FloatArray) -> FloatArray:
        """Where the trajectories that begin at x (G, N, m) are at the nodes (G, K, N, m)."""
        return x[:, None] + _along(self.nodes.a, self.F)

    def differentiate(self, D: FloatArray) -> FloatArray:
        """Take these derivatives of the fields; those of the intervals' flows (G, N, m, m).

        Phi = 1 + integral of D Phi by repeated insertion, which begins with what was there before.
        """
        one = np.eye(D.shape[-1], dtype=D.dtype)
        Phi = self.Phi if self.Phi.shape == D.shape else np.broadcast_to(one, D.shape)
        for _ in range(COLLOCATION.most_sums):
            before, Phi = Phi, one + _along(self.nodes.a, times(D, Phi))
            if not np.max(abs(Phi - before)) > COLLOCATION.summed * np.max(abs(Phi)):
                break
        self.D, self.Phi, self.inverse = D, Phi, inverted(Phi)
        return one + _total(self.nodes.b, times(D, Phi))

    def defects(self, V: FloatArray, x: FloatArray, ends: FloatArray) -> FloatArray:
        """By how much flows from x (G, N, m) miss the ends, to first order, by the fields V."""
        a, g = self.nodes.a, V - self.F
        # trajectories are polynomials, and integrals with Phi are not: once more for what is left
        self.moves = applied(self.Phi, _along(a, applied(self.inverse, g)))
        left = _along(a, g + applied(self.D, self.moves)) - self.moves
        pulled = applied(self.inverse, applied(self.D, left))
        self.moves += left + applied(self.Phi, _along(a, pulled))
        return x - ends + _total(self.nodes.b, V + applied(self.D, self.moves))

    def step(self, V: FloatArray, dx: FloatArray) -> float:
        """Newton's step, where the starts move by dx (G, N, m); the largest move at the nodes."""
        moves = self.moves + applied(self.Phi, dx[:, None])
        self.F = V + applied(self.D, moves)
        return float(np.max(abs(moves)))


class Trajectories:
    """Trajectories of points in all intervals of a loop, by Newton's method on all at once.

    They begin as straight lines between the states.

    Parameters
    ----------
    batched : BatchedFields
        The fields.
    w : ndarray of shape (M, d)
        The controls.
    x : ndarray of shape (M + 1, N, m)
        The states at the ends of the intervals, nearly; the first ones are kept.
    n_steps : ndarray of shape (M,)
        Steps of the scheme of order 8 that would do: they tell how many nodes intervals have.

    Attributes
    ----------
    A : ndarray of shape (M, N, m, m)
        Derivatives of the flows of the intervals, once they are settled.
    """

    def __init__(
        self, batched: BatchedFields[Any], w: FloatArray, x: FloatArray, n_steps: IntArray
    ):
        self.batched, self.w, self.x = batched, w, x
        self.A = np.empty((*x[1:].shape, x.shape[-1]))
        K = n_nodes(n_steps)
        self.groups = []
        for nodes in np.unique(K):
            t = np.flatnonzero(nodes == K)
            lines = np.broadcast_to((x[t + 1] - x[t])[:, None], (len(t), nodes, *x.shape[1:]))
            self.groups.append(_Alike(t, gauss_nodes(int(nodes)), lines))

    def settle(self, enough: float = COLLOCATION.enough) -> bool:
        """Newton's method until a step is at most `enough`: its square is left. Whether it arrives.

        First by the fields in single precision, with new derivatives at each step, then in double
        precision with the last ones.
        """
        try:
            return self._arrives(self.batched.single(), COLLOCATION.near, renew=True) and (
                self._arrives(self.batched, enough, renew=False)
            )
        except np.linalg.LinAlgError:  # derivatives are singular where Newton's method is lost
            return False

    def refined(self, n_steps: IntArray) -> Trajectories:
        """The same trajectories with nodes for so many steps, after one step of Newton's method."""
        finer = Trajectories(self.batched, self.w, self.x, n_steps)
        K, finer.A, finer.groups = n_nodes(n_steps), self.A, []
        for kept in self.groups:
            own = K[kept.members]
            finer.groups += [
                kept.at(gauss_nodes(int(nodes)), np.flatnonzero(nodes == own))
                for nodes in np.unique(own)
            ]
        finer._step(self.batched, renew=False)
        return finer

    def _arrives(self, batched: BatchedFields[Any], enough: float, renew: bool) -> bool:
        """Newton's method until a step is at most `enough`; False where steps do not shrink."""
        smallest = np.inf
        for i in range(COLLOCATION.most_steps):
            # ends of intervals are nearly known, and what is between them is not at first
            size = self._step(batched, renew, held=renew and i == 0)
            if size <= enough:
                return True
            if not size < smallest:
                break
            smallest = size
        return False

    def _step(self, batched: BatchedFields[Any], renew: bool, held: bool = False) -> float:
        """A step of Newton's method, and its size; ends of intervals that are held stay."""
        defects, Vs = np.empty_like(self.x[1:]), []
        for group in self.groups:
            t = group.members
            V, D = _slopes(batched, self.w[t], group.points(self.x[t]), renew)
            if D is not None:
                self.A[t] = group.differentiate(D)
            defects[t] = group.defects(V, self.x[t], self.x[t + 1])
            Vs.append(V)
        dx = np.zeros_like(self.x)
        if not held:
            dx[1:] = Cascade(self.A).respond(defects)
        self.x = self.x + dx
        moves = [group.step(V, dx[group.members]) for group, V in zip(self.groups, Vs, strict=True)]
        return float(np.max(moves))


def collocated(
    batched: BatchedFields[Any],
    w: FloatArray,
    x: FloatArray,
    n_steps: IntArray,
    enough: float = COLLOCATION.enough,
) -> Trajectories | None:
    """Settled trajectories near x; None where collocation does not pay, or does not arrive."""
    if not batched.dear or np.max(n_nodes(n_steps)) > COLLOCATION.most:
        return None
    trajectories = Trajectories(batched, w, x, n_steps)
    return trajectories if trajectories.settle(enough) else None


def _along(a: FloatArray, F: FloatArray) -> FloatArray:
    """Sum_j a_kj F_j, with nodes on the second axis, in the precision of F."""
    G, K = F.shape[:2]
    flat = a.astype(F.dtype, copy=False) @ F.reshape(G, K, -1)
    return flat.reshape(G, len(a), *F.shape[2:])


def _total(b: FloatArray, F: FloatArray) -> FloatArray:
    """Sum_j b_j F_j, with nodes on the second axis."""
    return _along(b[None], F)[:, 0]


def _slopes(
    batched: BatchedFields[Any], w: FloatArray, points: FloatArray, renew: bool
) -> tuple[FloatArray, FloatArray | None]:
    """V_w (G, K, N, m) at points, and where asked for DV_w too."""
    G, K, N, m = points.shape
    x = points.reshape(G, K * N, m)
    V, D = np.empty_like(x), np.empty((*x.shape, m), batched.dtype) if renew else None
    for s in batched.slices(x):
        bound = batched.bind(w[s])
        if D is None:
            V[s] = batched.velocity(bound, x[s])
        else:
            V[s], D[s] = batched.tangent(bound, x[s])
    return V.reshape(points.shape), None if D is None else D.reshape(*points.shape, m)
