"""Fields under many controls at once: all intervals, or all candidates, in one array.

A group of N points has controls of its own. The interval of length 1/M under u is the flow over
unit time under w = u / M, so that nothing here knows of M.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import DTypeLike
from scipy.integrate import DOP853, RK45

from skcode.flow import runge_kutta
from skcode.geometry.interpolation._matrices import times
from skcode.geometry.interpolation._tuning import CACHE, CLOSING, NEWTON
from skcode.utils._typing import FloatArray, IntArray


class Scheme(NamedTuple):
    """The matrix and the weights of an explicit scheme."""

    a: FloatArray
    b: FloatArray


#: the scheme of Dormand and Prince of order 8, twelve stages
FINE = Scheme(DOP853.A, DOP853.B)
#: its order: high, since the errors wanted are those of rounding
ORDER = 8
#: that of order 5, six stages, for derivatives that Newton's method needs to two digits
COARSE = Scheme(np.pad(RK45.A, ((0, 0), (0, 1))), RK45.B)


class Bound(Protocol):
    """What a kind of fields made of the controls of all groups."""

    def first(self, g: int) -> Self:
        """The same for the first g groups."""


#: of one kind of fields: whoever calls `bind` hands the result on and does not look inside
B = TypeVar("B", bound=Bound)


class BatchedFields(ABC, Generic[B]):
    """V_w(x) = sum_i w^i V_i(x) for G groups of N points, each group with its own w.

    Shapes: w (G, d), x (G, N, m).
    """

    n_fields: int
    n_states: int
    #: floats in the intermediate arrays of one point, by which groups are put into chunks
    width: int
    #: precision of velocities and derivatives; flows sum them up in double precision in any case
    dtype: DTypeLike = np.float64

    #: whether evaluations cost much more than arithmetic on states and their derivatives, so that
    #: collocation pays
    dear: bool = False

    #: scheme of the derivatives of flows
    linear: Scheme = FINE

    def single(self) -> Self:
        """The same fields in single precision, where that is faster."""
        return self

    def quick(self) -> Self:
        """The same fields, for derivatives of flows that are needed to few digits."""
        return self.single()

    @abstractmethod
    def bind(self, w: FloatArray) -> B:
        """Contract the controls with the coefficients, once for all evaluations under them."""

    @abstractmethod
    def values(self, x: FloatArray) -> FloatArray:
        """All fields at each point (G, N, m, d)."""

    @abstractmethod
    def velocity(self, bound: B, x: FloatArray) -> FloatArray:
        """V_w(x) as (G, N, m)."""

    @abstractmethod
    def derivative(self, bound: B, x: FloatArray) -> FloatArray:
        """DV_w(x) as (G, N, m, m), with the direction last."""

    def local(self, bound: B, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Velocity, derivative and values at once."""
        return self.velocity(bound, x), self.derivative(bound, x), self.values(x)

    def tangent(self, bound: B, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Velocity and derivative at once."""
        return self.local(bound, x)[:2]

    # -- the flow over unit time -----------------------------------------------------------------

    def flow(self, w: FloatArray, x: FloatArray, n_steps: int | IntArray) -> FloatArray:
        """Where the points of each group arrive (G, N, m), by n_steps for all or for each (G,)."""
        out = np.empty_like(x)
        for s, n in self._chunks(x, n_steps, self.width):
            bound, y = self.bind(w[s] / n[:, None]), x[s]
            for g in _going(n):
                y[:g] += self._step(bound.first(g), y[:g])
            out[s] = y
        return out

    def tangent_flow(self, w: FloatArray, x: FloatArray, n_steps: int | IntArray) -> FloatArray:
        """The derivative of `flow` in x (G, N, m, m) alone."""
        A = np.empty((*x.shape, self.n_states))
        for s, n in self._chunks(x, n_steps, self.width + CACHE.stages_in_use * self.n_states**2):
            bound, y, D = self.bind(w[s] / n[:, None]), x[s], _identities(x[s])
            for g in _going(n):
                dx, step = self._tangent_step(bound.first(g), y[:g])
                y[:g] += dx
                D[:g] = times(step, D[:g])
            A[s] = D
        return A

    def linearised_flow(
        self, w: FloatArray, x: FloatArray, n_steps: int | IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Derivatives of `flow` in x (G, N, m, m) and in w (G, N, m, d)."""
        m, d = self.n_states, self.n_fields
        if self.linear is COARSE:
            n_steps = np.maximum(n_steps, self._coarse_steps(w, x))
        A, B = np.empty((*x.shape, m)), np.empty((*x.shape, d))
        for s, n in self._chunks(x, n_steps, CACHE.stages_in_use * (self.width + m * (m + d))):
            bound, y, D = self.bind(w[s] / n[:, None]), x[s], _identities(x[s])
            P = np.zeros((*y.shape, d), self.dtype)
            for g in _going(n):
                dx, step, push = self._adjoint_step(bound.first(g), y[:g])
                y[:g] += dx
                D[:g] = times(step, D[:g])
                P[:g] = step.astype(self.dtype, copy=False) @ P[:g] + push
            A[s], B[s] = D, P / n[:, None, None, None]
        return A, B

    def _coarse_steps(self, w: FloatArray, x: FloatArray) -> IntArray:
        """As many steps (G,) as the derivatives where the intervals begin ask of order 5.

        Not more than a loop may need to close: where points explode derivatives are beyond measure.
        """
        steps = np.empty(len(x), dtype=int)
        for s, _ in self._chunks(x, 1, self.width + CACHE.stages_in_use * self.n_states**2):
            D = self.derivative(self.bind(w[s]), x[s])
            size = np.sqrt(np.max(np.sum(D**2, axis=(2, 3)), axis=1))
            steps[s] = np.clip(np.ceil(np.nan_to_num(size) / NEWTON.turn), 1, 2**CLOSING.doublings)
        return steps

    def _chunks(
        self, x: FloatArray, n_steps: int | IntArray, width: int
    ) -> Iterator[tuple[IntArray, IntArray]]:
        """Groups that fit the cache together, and their steps; those of most steps come first."""
        G, N, _ = x.shape
        size = max(1, CACHE.chunk // (N * width))
        steps = np.broadcast_to(n_steps, G)
        order = np.argsort(-steps, kind="stable")
        for start in range(0, G, size):
            groups = order[start : start + size]
            yield groups, steps[groups]

    def slices(self, x: FloatArray) -> Iterator[slice]:
        """Groups that fit the cache together, where all are evaluated once."""
        size = max(1, CACHE.chunk // (x.shape[1] * self.width))
        for start in range(0, len(x), size):
            yield slice(start, start + size)

    def _step(self, bound: B, x: FloatArray) -> FloatArray:
        """What one step of the scheme adds to x."""
        return runge_kutta(*FINE, lambda point: (self.velocity(bound, point),), x)[0]

    def _tangent_step(self, bound: B, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What one step adds to x, and its derivative in x (G, N, m, m)."""

        def slopes(point: FloatArray, D: FloatArray) -> tuple[FloatArray, FloatArray]:
            velocity, slope = self.tangent(bound, point)
            return velocity, times(slope, D)

        one = _identities(x)
        dx, dD = runge_kutta(*FINE, slopes, x, one)
        return dx, one + dD

    def _adjoint_step(self, bound: B, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """What one step adds to x, its derivative in x (G, N, m, m) and in w (G, N, m, d).

        They are those of the discrete adjoint: with the derivative L_i = dx_1 / dk_i of the step
        in stage i, they are 1 + sum_i L_i DV_w(x_i) in x and sum_i L_i V(x_i) in w. That takes
        products of m x m matrices, where tangents would carry m + d columns through all stages.

        `Sweep` has the other adjoint of a scheme: there adjoints are vectors, and each stage adds
        to the controls at once. Here they are matrices, and those of all stages are kept, so that
        one product with all V gives the derivative in w.
        """
        (a, b), m, one = self.linear, self.n_states, np.eye(self.n_states)
        stages = len(b)
        LD = np.empty((stages, x.size * m))
        # stage i takes the columns of L and the rows of V from i m to (i + 1) m
        L = np.empty((*x.shape, stages * m), self.dtype)
        V = np.empty((*x.shape[:2], stages * m, self.n_fields), self.dtype)
        at = [slice(i * m, (i + 1) * m) for i in range(stages)]
        Ds: list[FloatArray] = []

        def slopes(point: FloatArray) -> tuple[FloatArray]:
            velocity, D, V[..., at[len(Ds)], :] = self.local(bound, point)
            Ds.append(D)
            return (velocity,)

        (dx,) = runge_kutta(a, b, slopes, x)
        for i in range(stages - 1, -1, -1):
            # b_i + sum_{j > i} a_ji L_j D_j
            Li = (a[i + 1 :, i] @ LD[i + 1 :]).reshape(*x.shape, m) + b[i] * one
            L[..., at[i]] = Li
            LD[i] = times(Li, Ds[i]).ravel()
        return dx, one + LD.sum(axis=0).reshape(*x.shape, m), L @ V


def _going(n_steps: IntArray) -> list[int]:
    """How many of the groups, sorted by their steps, take the first step, the second, ..."""
    return [int(np.sum(n_steps > taken)) for taken in range(n_steps[0])]


def _identities(x: FloatArray) -> FloatArray:
    """The identity at each point (G, N, m, m)."""
    return np.tile(np.eye(x.shape[-1]), (*x.shape[:2], 1, 1))
