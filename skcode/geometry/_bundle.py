"""Fields under many controls at once: all intervals, or all candidates, in one array.

A group of N points has controls of its own. The interval of length 1/M under u is the flow over
unit time under w = u / M, so that nothing here knows of M.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from autograd import make_jvp
from scipy.integrate import DOP853

from skcode.fields import Fields
from skcode.fields._neural import NeuralDrawn
from skcode.fields._polynomial import Monomials, without
from skcode.geometry._vector_field import Exponent, PolynomialField, all_polynomial, vector_fields
from skcode.utils._tracing import tracing
from skcode.utils._typing import FloatArray, IntArray

#: the scheme of Dormand and Prince of order 8
_A, _B, ORDER = DOP853.A, DOP853.B, 8
#: floats in the arrays of one chunk of groups, which stay in the cache, and how many stages' arrays
#: of derivatives are worth it
_CHUNK, _IN_USE = 2**18, 3
#: fields of full rank with more states have their derivatives component by component
_FEW_STATES = 4


class Bundle(ABC):
    """V_w(x) = sum_i w^i V_i(x) for G groups of N points, each group with its own w.

    Shapes: w (G, d), x (G, N, m).
    """

    n_fields: int
    n_states: int
    #: floats that one point costs
    width: int

    @abstractmethod
    def bind(self, w: FloatArray) -> Any:
        """What the methods need of w; its parts are arrays with a first axis G."""

    @abstractmethod
    def values(self, x: FloatArray) -> FloatArray:
        """All fields at each point (G, N, d, m)."""

    @abstractmethod
    def velocity(self, bound: Any, x: FloatArray) -> FloatArray:
        """V_w(x) as (G, N, m)."""

    @abstractmethod
    def derivative(self, bound: Any, x: FloatArray) -> FloatArray:
        """DV_w(x) as (G, N, m, m), with the direction last."""

    def local(self, bound: Any, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Velocity, derivative and values at once."""
        return self.velocity(bound, x), self.derivative(bound, x), self.values(x)

    def tangent(self, bound: Any, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Velocity and derivative at once."""
        return self.local(bound, x)[:2]

    # -- the flow over unit time -----------------------------------------------------------------

    def flow(self, w: FloatArray, x: FloatArray, n_steps: int | IntArray) -> FloatArray:
        """Where the points of each group arrive (G, N, m), by n_steps for all or for each (G,)."""
        out = np.empty_like(x)
        for s, n in self._chunks(x, n_steps, self.width):
            out[s] = self._flow(w[s], x[s], n)
        return out

    def linearised_flow(
        self, w: FloatArray, x: FloatArray, n_steps: int | IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Derivatives of `flow` in x (G, N, m, m) and in w (G, N, m, d)."""
        m, d = self.n_states, self.n_fields
        width = _IN_USE * (self.width + m * (m + d))
        A, B = np.empty((*x.shape, m)), np.empty((*x.shape[:2], d, m))
        for s, n in self._chunks(x, n_steps, width):
            A[s], B[s] = self._linearised(w[s], x[s], n)
        return A, np.swapaxes(B, -1, -2)

    def tangent_flow(self, w: FloatArray, x: FloatArray, n_steps: int | IntArray) -> FloatArray:
        """The derivative of `flow` in x (G, N, m, m) alone."""
        A = np.empty((*x.shape, self.n_states))
        for s, n in self._chunks(x, n_steps, self.width + _IN_USE * self.n_states**2):
            A[s] = self._tangents(w[s], x[s], n)
        return A

    def _chunks(
        self, x: FloatArray, n_steps: int | IntArray, width: int
    ) -> Iterator[tuple[IntArray, int]]:
        """Groups of the same number of steps, few enough that their arrays stay small."""
        G, N, _ = x.shape
        size = max(1, _CHUNK // (N * width))
        steps = np.broadcast_to(n_steps, G)
        for n in np.unique(steps):
            groups = np.flatnonzero(steps == n)
            for start in range(0, len(groups), size):
                yield groups[start : start + size], int(n)

    def _flow(self, w: FloatArray, x: FloatArray, n_steps: int) -> FloatArray:
        bound = self.bind(w / n_steps)
        k = np.empty((len(_B), x.size))
        for _ in range(n_steps):
            for i, row in enumerate(_A):
                point = x + (row[:i] @ k[:i]).reshape(x.shape)
                k[i] = self.velocity(bound, point).ravel()
            x = x + (_B @ k).reshape(x.shape)
        return x

    def _tangents(self, w: FloatArray, x: FloatArray, n_steps: int) -> FloatArray:
        bound = self.bind(w / n_steps)
        A = np.zeros((*x.shape, self.n_states))
        A[...] = np.eye(self.n_states)
        k, K = np.empty((len(_B), x.size)), np.empty((len(_B), A.size))
        for _ in range(n_steps):
            for i, row in enumerate(_A):
                point = x + (row[:i] @ k[:i]).reshape(x.shape)
                velocity, D = self.tangent(bound, point)
                k[i] = velocity.ravel()
                K[i] = (D @ (A + (row[:i] @ K[:i]).reshape(A.shape))).ravel()
            x = x + (_B @ k).reshape(x.shape)
            A = A + (_B @ K).reshape(A.shape)
        return A

    def _linearised(
        self, w: FloatArray, x: FloatArray, n_steps: int
    ) -> tuple[FloatArray, FloatArray]:
        """The derivatives (G, N, m, m) in x and (G, N, d, m) in w, side by side.

        Those of one step are its discrete adjoint: with the derivative L_i = dx_1 / dk_i of the
        step in stage i, they are 1 + sum_i L_i DV_w(x_i) in x and sum_i L_i V(x_i) in w. That takes
        products of m x m matrices, where tangents would carry m + d columns through all stages.
        """
        m = self.n_states
        bound = self.bind(w / n_steps)
        A, B = np.zeros((*x.shape, m)), np.zeros((*x.shape[:2], self.n_fields, m))
        A[...] = np.eye(m)
        k, L = np.empty((len(_B), x.size)), np.empty((len(_B), A.size))
        for _ in range(n_steps):
            Ds: list[FloatArray] = []
            Vs: list[FloatArray] = []
            for i, row in enumerate(_A):
                point = x + (row[:i] @ k[:i]).reshape(x.shape)
                velocity, D, V = self.local(bound, point)
                k[i] = velocity.ravel()
                Ds.append(D)
                Vs.append(V)
            step, push = np.zeros_like(A), np.zeros_like(B)
            for i in range(len(_B) - 1, -1, -1):
                # sum_{j > i} a_ji L_j D_j, whose L_j D_j take the place of L_j when they are known
                Li = (_A[i + 1 :, i] @ L[i + 1 :]).reshape(A.shape) + _B[i] * np.eye(m)
                push += Vs[i] @ np.swapaxes(Li, -1, -2)
                LD = Li @ Ds[i]
                step += LD
                L[i] = LD.ravel()
            step += np.eye(m)
            x = x + (_B @ k).reshape(x.shape)
            A, B = step @ A, B @ np.swapaxes(step, -1, -2) + push
        return A, B / n_steps


class _BoundPolynomials(NamedTuple):
    C: FloatArray  # (G, D, m): w^i c_i
    dC: FloatArray  # (G, D, m m): the coefficients of its derivatives


class PolynomialBundle(Bundle):
    """Polynomial fields: the controls are contracted with the coefficients first."""

    def __init__(self, Vs: list[PolynomialField]):
        m = Vs[0].n_states
        exponents = _divisors({alpha for V in Vs for alpha in V.terms})
        index = {alpha: j for j, alpha in enumerate(exponents)}
        table = Monomials(exponents, m)
        self.levels = [(s, table.parent[s], table.variable[s]) for s in table.levels]
        self.n_fields, self.n_states = len(Vs), m
        self.width = len(exponents)
        self.c = np.zeros((len(Vs), len(exponents), m))
        for i, V in enumerate(Vs):
            for alpha, c in V.terms.items():
                self.c[i, index[alpha]] = c
        slopes = table.slopes(self.c.transpose(0, 2, 1).reshape(-1, self.width))
        self.dc = np.zeros((len(Vs), self.width, m, m))
        self.dc[:, : table.n_quotients] = slopes.reshape(len(Vs), m, m, -1).transpose(0, 3, 1, 2)
        self.flat = self.c.transpose(1, 0, 2).reshape(self.width, -1)

    def bind(self, w: FloatArray) -> _BoundPolynomials:
        C, dC = np.tensordot(w, self.c, axes=1), np.tensordot(w, self.dc, axes=1)
        return _BoundPolynomials(C, dC.reshape(*dC.shape[:2], -1))

    def _phi(self, x: FloatArray) -> FloatArray:
        """The monomials as (G, N, D), which lie in memory one after the other."""
        rows = np.ascontiguousarray(x.reshape(-1, self.n_states).T)
        phi = np.empty((self.width, rows.shape[1]))
        phi[0] = 1
        for level, parents, variables in self.levels:
            np.multiply(phi[parents], rows[variables], out=phi[level])
        return phi.reshape(-1, *x.shape[:-1]).transpose(1, 2, 0)

    def values(self, x: FloatArray) -> FloatArray:
        return self._values(self._phi(x))

    def _values(self, phi: FloatArray) -> FloatArray:
        flat = phi.transpose(2, 0, 1).reshape(self.width, -1).T @ self.flat
        return flat.reshape(*phi.shape[:-1], self.n_fields, self.n_states)

    def velocity(self, bound: _BoundPolynomials, x: FloatArray) -> FloatArray:
        return self._phi(x) @ bound.C

    def derivative(self, bound: _BoundPolynomials, x: FloatArray) -> FloatArray:
        return self.tangent(bound, x)[1]

    def tangent(self, bound: _BoundPolynomials, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        return self._tangent(bound, self._phi(x))

    def local(
        self, bound: _BoundPolynomials, x: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        phi = self._phi(x)
        return *self._tangent(bound, phi), self._values(phi)

    def _tangent(self, bound: _BoundPolynomials, phi: FloatArray) -> tuple[FloatArray, FloatArray]:
        velocity = phi @ bound.C
        return velocity, (phi @ bound.dC).reshape(*velocity.shape, self.n_states)


def _divisors(exponents: set[Exponent]) -> list[Exponent]:
    """The monomials and all that divide them, in order of degree."""
    found: set[Exponent] = {()}
    fresh = set(exponents)
    while fresh:
        found |= fresh
        fresh = {without(alpha, j) for alpha in fresh for j in alpha} - found
    return sorted(found, key=lambda alpha: (len(alpha), alpha))


class _ValueBundle(Bundle):
    """Fields by their values, which are contracted with the controls."""

    def __init__(self, fields: Fields):
        self.fields = fields
        self.n_fields, self.n_states = fields.n_fields, fields.n_states
        self.width = fields.tape_width + self.n_fields * self.n_states

    def bind(self, w: FloatArray) -> Any:
        return w

    def values(self, x: FloatArray) -> FloatArray:
        flat: FloatArray = self.fields.value(x.reshape(-1, self.n_states))
        return flat.reshape(*x.shape[:-1], self.n_fields, self.n_states)

    def velocity(self, bound: Any, x: FloatArray) -> FloatArray:
        return _contract(bound, self.values(x))


def _contract(w: FloatArray, values: FloatArray) -> FloatArray:
    """Sum_i w_g^i V_i as (G, N, m)."""
    return (w[:, None, None, :] @ values)[..., 0, :]


class GeneralBundle(_ValueBundle):
    """Any fields; the derivative is autograd's forward mode."""

    def derivative(self, bound: FloatArray, x: FloatArray) -> FloatArray:
        rows = x.reshape(-1, self.n_states)
        columns = []
        with tracing():
            jvp = make_jvp(self.fields.value)(rows)
            for e in np.eye(self.n_states):
                tangent = jvp(np.broadcast_to(e, rows.shape))[1]
                columns.append(_contract(bound, tangent.reshape(*x.shape[:-1], -1, x.shape[-1])))
        return np.stack(columns, axis=-1)


class _BoundRows(NamedTuple):
    w: FloatArray  # (G, d)
    C: FloatArray  # (G, d r, m): w^i B_i
    dC: Any  # (G, d r, m m): the products of its entries with those of A; None where they are many


class NeuralBundle(_ValueBundle):
    """Neural fields: V_w = sum_r w_r B_r sigma_r and DV_w = sum_r w_r B_r sigma'_r A_r over rows r.

    The controls are contracted with the matrices first: one product of matrices for each group.
    """

    def __init__(self, fields: NeuralDrawn):
        super().__init__(fields)
        self.activation = fields.activation
        m, d, r = fields.n_states, fields.n_fields, fields.rank
        self.rank = r
        #: (m + 1, d r), the biases last
        self.columns = np.ascontiguousarray(fields.A.T)
        #: B (d, r, m), and A (r, d, m): the rows of one rank of all fields
        self.B = None if fields.B is None else fields.B.reshape(m, d, r).transpose(1, 2, 0)
        self.A = np.ascontiguousarray(fields.A[:, :-1].reshape(d, r, m).transpose(1, 0, 2))
        #: rows of B (d r, m) and products (d r, m m) of the entries, by component and direction
        self.rows = np.tile(np.eye(m), (d, 1)) if fields.B is None else fields.B.T
        self.BA = None
        if fields.B is not None or m <= _FEW_STATES:
            self.BA = (self.rows[:, :, None] * fields.A[:, None, :-1]).reshape(d * r, m * m)

    def bind(self, w: FloatArray) -> _BoundRows:
        u = np.repeat(w, self.rank, axis=1)[:, :, None]
        return _BoundRows(w, u * self.rows, None if self.BA is None else u * self.BA)

    def values(self, x: FloatArray) -> FloatArray:
        return self._values(self._activate(x, None))

    def velocity(self, bound: _BoundRows, x: FloatArray) -> FloatArray:
        return self._activate(x, None) @ bound.C

    def derivative(self, bound: _BoundRows, x: FloatArray) -> FloatArray:
        return self.tangent(bound, x)[1]

    def tangent(self, bound: _BoundRows, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        return self._tangent(bound, x)[:2]

    def local(self, bound: _BoundRows, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        velocity, D, s = self._tangent(bound, x)
        return velocity, D, self._values(s)

    def _tangent(
        self, bound: _BoundRows, x: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Velocity, derivative and sigma of all rows."""
        ds = np.empty((*x.shape[:-1], self.columns.shape[1]))
        s = self._activate(x, ds)
        slopes = self.activation.derivative(s, ds, ds)
        if bound.dC is not None:
            D = slopes @ bound.dC
        else:
            # row k of DV_w is sum_i w_i sigma'_ik A_ik: products for one k at a time
            q = slopes.reshape(-1, self.n_fields, self.rank)
            q *= np.repeat(bound.w, x.shape[1], axis=0)[:, :, None]
            D = (np.ascontiguousarray(q.transpose(2, 0, 1)) @ self.A).transpose(1, 0, 2)
        return s @ bound.C, D.reshape(*x.shape, self.n_states), s

    def _activate(self, x: FloatArray, ds: FloatArray | None) -> FloatArray:
        """sigma of all rows (G, N, d r), and what the derivative needs."""
        rows = np.ones((x.size // self.n_states, self.n_states + 1))
        rows[:, :-1] = x.reshape(-1, self.n_states)
        s: FloatArray = (rows @ self.columns).reshape(*x.shape[:-1], -1)
        if ds is None and self.activation.keeps_derivative:
            ds = np.empty_like(s)
        self.activation.forward(s, ds)
        return s

    def _values(self, s: FloatArray) -> FloatArray:
        s = s.reshape(*s.shape[:-1], self.n_fields, 1, self.rank)
        return (s if self.B is None else s @ self.B)[..., 0, :]


def bundle(fields: Fields) -> Bundle:
    """The fields for many controls at once."""
    Vs = vector_fields(fields)
    if all_polynomial(Vs):
        return PolynomialBundle(Vs)
    return NeuralBundle(fields) if isinstance(fields, NeuralDrawn) else GeneralBundle(fields)
