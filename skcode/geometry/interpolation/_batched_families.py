"""Polynomial, neural and other fields under many controls at once, each in its own fast way."""

from __future__ import annotations

from copy import copy
from typing import Any, NamedTuple

import numpy as np
from autograd import make_jvp

from skcode.fields import DrawnFields, DrawnNeural, Monomials
from skcode.geometry.brackets import Exponent, PolynomialField, all_polynomial, vector_fields
from skcode.geometry.interpolation._batched_fields import COARSE, B, BatchedFields
from skcode.geometry.interpolation._tuning import CACHE
from skcode.utils._tracing import tracing
from skcode.utils._typing import FloatArray


class _BoundPolynomials(NamedTuple):
    C: FloatArray  # (G, D, m): w^i c_i
    dC: FloatArray  # (G, D, m m): the coefficients of its derivatives

    def first(self, g: int) -> _BoundPolynomials:
        return _BoundPolynomials(self.C[:g], self.dC[:g])


class BatchedPolynomials(BatchedFields[_BoundPolynomials]):
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
        self.flat = self.c.transpose(1, 2, 0).reshape(self.width, -1)

    def quick(self) -> BatchedPolynomials:
        other = copy(self)
        other.linear = COARSE
        return other

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
        return flat.reshape(*phi.shape[:-1], self.n_states, self.n_fields)

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
        fresh = {Monomials.quotient(alpha, j) for alpha in fresh for j in alpha} - found
    return sorted(found, key=lambda alpha: (len(alpha), alpha))


class _BatchedValues(BatchedFields[B]):
    """Fields that are known by their values."""

    def __init__(self, fields: DrawnFields):
        self.fields = fields
        self.n_fields, self.n_states = fields.n_fields, fields.n_states
        self.width = fields.tape_width + self.n_fields * self.n_states

    def values(self, x: FloatArray) -> FloatArray:
        flat: FloatArray = self.fields.value(x.reshape(-1, self.n_states))
        return np.swapaxes(flat.reshape(*x.shape[:-1], self.n_fields, self.n_states), -1, -2)


def _contract(values: FloatArray, w: FloatArray) -> FloatArray:
    """Sum_i w_g^i V_i as (G, N, m)."""
    return (values @ w[:, None, :, None])[..., 0]


class _BoundControls(NamedTuple):
    w: FloatArray  # (G, d)

    def first(self, g: int) -> _BoundControls:
        return _BoundControls(self.w[:g])


class BatchedGeneral(_BatchedValues[_BoundControls]):
    """Any fields: values are contracted with the controls, derivatives are autograd's."""

    def bind(self, w: FloatArray) -> _BoundControls:
        return _BoundControls(w)

    def velocity(self, bound: _BoundControls, x: FloatArray) -> FloatArray:
        return _contract(self.values(x), bound.w)

    def derivative(self, bound: _BoundControls, x: FloatArray) -> FloatArray:
        rows = x.reshape(-1, self.n_states)
        columns = []
        with tracing():
            jvp = make_jvp(self.fields.value)(rows)
            for e in np.eye(self.n_states):
                tangent = jvp(np.broadcast_to(e, rows.shape))[1]
                slopes = tangent.reshape(*x.shape[:-1], -1, x.shape[-1])
                columns.append(_contract(np.swapaxes(slopes, -1, -2), bound.w))
        return np.stack(columns, axis=-1)


class _BoundRows(NamedTuple):
    w: FloatArray  # (G, d)
    C: FloatArray  # (G, r d, m): w^i B_i
    #: (G, r d, m m): the products of its entries with those of A; None where they are too many
    dC: FloatArray | None

    def first(self, g: int) -> _BoundRows:
        return _BoundRows(self.w[:g], self.C[:g], None if self.dC is None else self.dC[:g])


class BatchedNeural(_BatchedValues[_BoundRows]):
    """Neural fields: V_w = sum_r w_r B_r sigma_r and DV_w = sum_r w_r B_r sigma'_r A_r over rows r.

    The controls are contracted with the matrices first: one product of matrices for each group.
    Rows are in the order of rank and field (r, d), so that those of all fields lie side by side.
    """

    dear = True

    def __init__(self, fields: DrawnNeural):
        super().__init__(fields)
        self.activation = fields.activation
        m, d, r = fields.n_states, fields.n_fields, fields.rank
        self.rank = r
        A = fields.A.reshape(d, r, m + 1).transpose(1, 0, 2)
        #: (m + 1, r d), the biases last, and without them (r, d, m)
        self.columns = np.ascontiguousarray(A.reshape(-1, m + 1).T)
        self.A = np.ascontiguousarray(A[..., :-1])
        #: B (d, r, m), if it is not the identity
        self.B = None if fields.B is None else fields.B.reshape(m, d, r).transpose(1, 2, 0)
        #: rows of B (r d, m) and products (r d, m m) of the entries, by component and direction
        rows = np.repeat(np.eye(m), d, axis=0) if self.B is None else self.B.transpose(1, 0, 2)
        self.rows = rows.reshape(r * d, m)
        self.BA = None
        if self.B is not None or m <= CACHE.few_states:
            A = self.A.reshape(r * d, 1, m)
            self.BA = (self.rows[:, :, None] * A).reshape(r * d, m * m)

    def single(self) -> BatchedNeural:
        other = copy(self)
        other.dtype = np.float32
        for name in ("columns", "A", "B", "rows", "BA"):
            kept = getattr(self, name)
            setattr(other, name, None if kept is None else kept.astype(np.float32))
        return other

    def bind(self, w: FloatArray) -> _BoundRows:
        w = w.astype(self.dtype, copy=False)
        u = np.tile(w, self.rank)[:, :, None]
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
        ds = np.empty((*x.shape[:-1], self.columns.shape[1]), self.dtype)
        s = self._activate(x, ds)
        slopes = self.activation.derivative(s, ds, ds)
        if bound.dC is not None:
            D = slopes @ bound.dC
        else:
            # row k of DV_w is sum_i w_i sigma'_ik A_ik: products for one k at a time
            q = slopes.reshape(*x.shape[:-1], self.rank, self.n_fields)
            q *= bound.w[:, None, None, :]
            D = (q.reshape(-1, *q.shape[2:]).transpose(1, 0, 2) @ self.A).transpose(1, 0, 2)
        return s @ bound.C, D.reshape(*x.shape, self.n_states), s

    def _activate(self, x: FloatArray, ds: FloatArray | None) -> FloatArray:
        """sigma of all rows (G, N, r d), and what the derivative needs."""
        rows = np.ones((x.size // self.n_states, self.n_states + 1), self.dtype)
        rows[:, :-1] = x.reshape(-1, self.n_states)
        s: FloatArray = (rows @ self.columns).reshape(*x.shape[:-1], -1)
        if ds is None and self.activation.keeps_derivative:
            ds = np.empty_like(s)
        self.activation.forward(s, ds)
        return s

    def _values(self, s: FloatArray) -> FloatArray:
        s = s.reshape(*s.shape[:-1], self.rank, self.n_fields)
        if self.B is None:
            return s
        values = np.swapaxes(s, -1, -2)[..., None, :] @ self.B
        return np.swapaxes(values[..., 0, :], -1, -2)


def batched_fields(fields: DrawnFields) -> BatchedFields[Any]:
    """The fields for many controls at once."""
    Vs = vector_fields(fields)
    if all_polynomial(Vs):
        return BatchedPolynomials(Vs)
    return BatchedNeural(fields) if isinstance(fields, DrawnNeural) else BatchedGeneral(fields)
