"""Euler sweeps of rank-1 tanh fields as one compiled call a block, by numba, for `compiled.py`.

The loops of `skcode.flow.Sweep`, over tiles of samples whose arrays fit the second cache. No call
holds Python's lock: threads do not wait for each other within a sweep.
"""

from __future__ import annotations

from math import factorial

import numpy as np
from numba import njit

from skcode.flow import Sweep

#: products and sums may be one instruction, and nothing raises: what vector instructions need
OPTIONS = {"nogil": True, "fastmath": {"contract", "nsz"}, "error_model": "numpy"}
#: sums may be taken in another order, too
SUMS = OPTIONS | {"fastmath": {"contract", "nsz", "reassoc"}}
#: samples in a tile; 256, 1040 and 2080 were slower
TILE = 512


def taylor(coefficients):
    """The sum of c_i r^i by Horner's rule, as functions of each other that LLVM unrolls."""
    first, *rest = coefficients
    if not rest:
        return njit(**OPTIONS)(lambda r: first)
    tail = taylor(rest)

    @njit(**OPTIONS)
    def value(r):
        return tail(r) * r + first

    return value


def compiled_tanh(dtype):
    """Replace z by tanh z = 1 - 2 / (1 + e^{2 z}), for contiguous z of one axis.

    e^y = 2^k e^r with |r| <= log(2) / 2: e^r by its Taylor series, 2^k by the bits of the exponent.
    The sum y / log(2) + shift rounds to k, which stands in its last bits.
    """
    double = dtype == np.float64
    number, integer = dtype.type, np.dtype(f"i{dtype.itemsize}").type
    shift, mantissa = (number(1.5 * 2.0**52), 52) if double else (number(1.5 * 2.0**23), 23)
    mantissa = integer(mantissa)
    # log(2) as a sum whose first part has trailing zeros, so that its multiples are exact
    high = number(6.93147180369123816490e-01 if double else 0.693359375)
    low = number(np.log(np.longdouble(2)) - np.longdouble(high))
    inverse, most = number(1 / np.log(2)), number(40)
    one, two = number(1), number(2)
    exponential = taylor([number(1 / factorial(i)) for i in range(14 if double else 8)])

    @njit(**OPTIONS)
    def tanh(z):
        for i in range(z.size):
            y = min(max(two * z[i], -most), most)
            rounded = y * inverse + shift
            k = rounded - shift
            r = (y - k * high) - k * low
            power = integer(number(rounded).view(integer) << mantissa)
            bits = number(exponential(r)).view(integer) + power
            z[i] = one - two / (one + integer(bits).view(number))

    return tanh


def compiled_loops(dtype):
    """Forward, adjoint and Jacobian over tiles: x (tiles, M + 1, m + 1, w), s (tiles, M, d, w)."""
    zero, one = dtype.type(0), dtype.type(1)
    tanh = compiled_tanh(dtype)

    @njit(**SUMS)
    def pull(q, s):
        total = zero
        for j in range(q.size):
            total += q[j] * s[j]
            q[j] *= one - s[j] * s[j]
        return total

    @njit(**OPTIONS)
    def write(q, s, row):
        for j in range(row.size):
            row[j] = q[j] * s[j]
        for j in range(q.size):
            q[j] *= one - s[j] * s[j]

    @njit(**OPTIONS)
    def add(x, v, out):
        for i in range(len(v)):
            for j in range(v.shape[1]):
                out[i, j] = x[i, j] + v[i, j]

    @njit(**OPTIONS)
    def forward(A, Bu, x0, x, s):
        n, m = x0.shape
        w = x.shape[3]
        v = np.empty((m, w), x0.dtype)
        for tile in range(len(x)):
            for j in range(min(w, n - tile * w)):
                x[tile, 0, :m, j] = x0[tile * w + j]
            for t in range(len(Bu)):
                np.dot(A, x[tile, t], s[tile, t])
                tanh(s[tile, t].reshape(-1))
                np.dot(Bu[t], s[tile, t], v)
                add(x[tile, t], v, x[tile, t + 1])

    @njit(**OPTIONS)
    def adjoint(B_T, Au, p1, s, u_bar):
        m, n = p1.shape
        tiles, M, d, w = s.shape
        p, v, q = np.zeros((m, w), p1.dtype), np.empty((m, w), p1.dtype), np.empty((d, w), p1.dtype)
        for tile in range(tiles):
            width = min(w, n - tile * w)
            p[:, :width] = p1[:, tile * w : tile * w + width]
            p[:, width:] = zero
            for t in range(M - 1, -1, -1):
                np.dot(B_T, p, q)
                for i in range(d):
                    u_bar[t, i] += pull(q[i], s[tile, t, i])
                if t > 0:
                    np.dot(Au[t], q, v)
                    add(p, v, p)

    @njit(**OPTIONS)
    def jacobian(B_T, Au, p1, s, rows):
        K, m = p1.shape
        tiles, M, d, w = s.shape
        n = rows.shape[-1]
        p, v, q = np.empty((m, w), p1.dtype), np.empty((m, w), p1.dtype), np.empty((d, w), p1.dtype)
        for tile in range(tiles):
            start = tile * w
            width = min(w, n - start)
            for k in range(K):
                first = np.dot(B_T, p1[k])
                for i in range(m):
                    p[i] = p1[k, i]
                for t in range(M - 1, -1, -1):
                    if t == M - 1:
                        for i in range(d):
                            q[i] = first[i]
                    else:
                        np.dot(B_T, p, q)
                    for i in range(d):
                        write(q[i], s[tile, t, i], rows[t, k, i, start : start + width])
                    if t > 0:
                        np.dot(Au[t], q, v)
                        add(p, v, p)

    return forward, adjoint, jacobian


LOOPS = {np.dtype(kind): compiled_loops(np.dtype(kind)) for kind in ("float32", "float64")}


class CompiledSweep(Sweep):
    """The sweeps of a gradient and of a Jacobian, for fields of rank 1 with tanh alone."""

    def __init__(self, fields, tableau, n_intervals, n_steps, n, dtype, lead=()):
        super().__init__(fields, tableau, n_intervals, n_steps, n, dtype, lead)
        m, d = fields.n_states, fields.n_fields
        tiles = -(-n // TILE)
        width = -(-n // tiles)
        self.x = np.ones((tiles, n_intervals + 1, m + 1, width), dtype)
        self.x[:, 0, :-1] = 0
        self.s = np.empty((tiles, n_intervals, d, width), dtype)
        self.B_T = np.ascontiguousarray(fields.B.T)
        self.loops = LOOPS[np.dtype(dtype)]

    def forward(self, controls, x0):
        u = (controls / len(controls)).astype(self.dtype)
        self.Bu = u[:, None, :] * self.fields.B
        Au = u[:, :, None] * self.fields.A[:, :-1]
        self.Au = np.ascontiguousarray(np.swapaxes(Au, 1, 2))
        self.loops[0](self.fields.A, self.Bu, np.ascontiguousarray(x0), self.x, self.s)
        return self._at(-1)

    def _at(self, t):
        x = self.x[:, t, :-1].swapaxes(0, 1)
        return x.reshape(len(x), -1)[:, : self.shape[1]]

    @property
    def states(self):
        return {t: self._at(t) for t in (0, -1)}

    def adjoint(self, p, u_bar, wants_start=True):
        total = np.zeros_like(u_bar)
        self.loops[1](self.B_T, self.Au, np.ascontiguousarray(p, self.dtype), self.s, total)
        u_bar += total / len(total)

    def jacobian(self, p, u_rows):
        first = np.ascontiguousarray(p[..., 0] / self.dtype.type(self.n_intervals))
        self.loops[2](self.B_T, self.Au, first, self.s, u_rows)
