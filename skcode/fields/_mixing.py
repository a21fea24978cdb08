"""Mixing fields: what is seen at a place of an image, written to channels by one control each."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np
from numpy.typing import DTypeLike
from scipy import sparse

from skcode.fields._activations import ACTIVATIONS, Activation
from skcode.fields._drawn import DrawnFields, FieldKernel
from skcode.fields._family import FieldFamily
from skcode.fields._image import ImageLayout
from skcode.utils._images import check_image_shape
from skcode.utils._sklearn import Interval, StrOptions, validate_parameters
from skcode.utils._typing import BoolArray, FloatArray, Traced

#: bytes of the patches of one group of channels: they stay in a cache of the second level
_GROUP_BYTES = 2**20
#: a colour is faint if its deviation is at most this share of the largest one's: brought to size
#: one, it would fill a channel with noise of the image's precision. Larger shares keep colours
#: small that say something. A colour of one number, up to rounding, is faint too, but it is not
#: what `is_constant` of the inputs asks: that compares with the mean, and such a column is left out
_FAINT = 1e-6
#: sizes of the controls from which training starts, times the root of what they weigh: with three
#: intervals, channels of size 2, and corrections by the filters of half that size
_START_COLOURS = 6.0
_START_FILTERS = 3.0


class MixingFields(FieldFamily):
    r"""One control for each pair of something seen and a channel that it is written to.

    The state is an image of S colours and C hidden channels h_1..h_C on the same grid, which begin
    at zero. Three kinds of fields write to channel c:

    .. math::
        V^{\mathrm{colour}}_{c,j}(x) = e_c \otimes (x_j - \mu_j) / s_j, \qquad
        V^{\mathrm{filter}}_{c,j}(x) = e_c \otimes \sigma(a_j * h_{c(j)} + b_j), \qquad
        V^{\mathrm{constant}}_c = e_c \otimes 1

    The filters :math:`a_j`, small random images, are frozen: each is moved over one channel, and
    each channel has `n_filters` of them. The controls are the matrices that mix: a colour or a
    response j weighs :math:`u^{c,j}_t` in channel c. So M intervals are a network of M layers that
    alternates frozen convolutions of single channels and trained mixing at single places [1]_, and
    nearly all of its trained numbers are controls.

    Fields act in windows of time, outside of which they are zero: colours in the first interval,
    filters in all later ones (their channels are empty before), constants in all. There are
    :math:`d = C (S + C\,n_{\mathrm{filters}} + 1)` fields, and :math:`C S + (M - 1) C^2
    n_{\mathrm{filters}} + M C` trained controls.

    Colours are usually the responses of frozen filters, as `skcode.images.PatchFilters` gives them.

    Parameters
    ----------
    image_shape : tuple of int
        (h, w) or (h, w, S): the inputs are an image, row by row, the colours of a pixel together.
    n_channels : int
        The number C of hidden channels.
    n_filters : int
        Filters that look at each hidden channel.
    kernel_size : int
        Side of the filters in pixels, odd. They read zeros beyond the edge.
    activation : {"relu", "tanh", "gelu", "softplus", "sin", "identity"}
        The function :math:`\sigma`.
    scale : float
        Size of the responses of a filter to a channel of independent pixels of size one.
    bias_scale : float
        Standard deviation of :math:`b_j`.
    pooling : int or None
        The readout reads the hidden channels, averaged over `pooling` by `pooling` windows. None
        lets it read all states.

    References
    ----------
    .. [1] J. Frankle, D. J. Schwab, A. S. Morcos, "Training BatchNorm and only BatchNorm: on the
       expressive power of random features in CNNs", ICLR 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from skcode.fields import MixingFields
    >>> family = MixingFields(image_shape=(4, 4, 3), n_channels=5, n_filters=2, pooling=2)
    >>> m = family.n_states()
    >>> m
    128
    >>> fields = family.draw(m, rng=0, n_inputs=48)
    >>> fields.n_fields, int(fields.acts(n_intervals=3).sum())
    (70, 130)
    """

    of_images = True
    _parameter_constraints = {
        "image_shape": ["array-like"],
        "n_channels": [Interval(Integral, 1, None, closed="left")],
        "n_filters": [Interval(Integral, 1, None, closed="left")],
        "kernel_size": [Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "scale": [Interval(Real, 0, None, closed="neither")],
        "bias_scale": [Interval(Real, 0, None, closed="left")],
        "pooling": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        image_shape: tuple[int, ...],
        n_channels: int = 16,
        n_filters: int = 4,
        kernel_size: int = 3,
        activation: str = "relu",
        scale: float = 1.4,
        bias_scale: float = 0.3,
        pooling: int | None = 3,
    ):
        self.image_shape = image_shape
        self.n_channels = n_channels
        self.n_filters = n_filters
        self.kernel_size = kernel_size
        self.activation = activation
        self.scale = scale
        self.bias_scale = bias_scale
        self.pooling = pooling

    def n_states(self) -> int:
        """Dimension m of the state: all colours and hidden channels at all places."""
        h, w, n_colours = self._shape(int(np.prod(self.image_shape)))
        return h * w * (n_colours + self.n_channels)

    def count(self, n_fields: int | None, n_inputs: int) -> int:
        """The number d = C (S + C n_filters + 1), whatever is asked."""
        n_colours = self._shape(n_inputs)[2]
        return self.n_channels * (n_colours + self.n_channels * self.n_filters + 1)

    def _draw(
        self,
        n_states: int,
        n_fields: int,
        rng: np.random.Generator,
        n_inputs: int,
        reference: FloatArray | None,
    ) -> DrawnMixing:
        shape = self._shape(n_inputs)
        if n_states != self.n_states():
            raise ValueError(
                f"n_states={n_states} must be {self.n_states()}, the {n_inputs} pixels and "
                f"{self.n_channels} channels of {shape[0]} x {shape[1]} places: family.n_states()."
            )
        layout = ImageLayout(shape, 1, n_states)
        if self.pooling is not None and self.pooling > min(layout.grid):
            raise ValueError(
                f"pooling={self.pooling} must be at most {min(layout.grid)}, the side of the image."
            )
        width, (C, f) = self.kernel_size**2, (self.n_channels, self.n_filters)
        A = rng.standard_normal((C, f, width + 1))
        A[..., :-1] *= self.scale / self.kernel_size
        A[..., -1] *= self.bias_scale
        mean, gain = np.zeros(shape[2]), np.ones(shape[2])
        if reference is not None:
            seen = reference.reshape(-1, shape[2])
            mean, deviation = seen.mean(axis=0), seen.std(axis=0)
            # a colour that hardly ever changes stays as small as it is
            varies = deviation > _FAINT * max(float(deviation.max()), np.finfo(float).tiny)
            gain = np.where(varies, 1 / np.where(varies, deviation, 1.0), 1.0)
        return DrawnMixing(
            A, mean, gain, ACTIVATIONS[self.activation], layout, self.kernel_size, self.pooling
        )

    def _shape(self, n_inputs: int) -> tuple[int, int, int]:
        """(h, w, S), checked together with what does not depend on the draw."""
        validate_parameters(self)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size} must be odd.")
        return check_image_shape(self.image_shape, n_inputs)


class DrawnMixing(DrawnFields):
    """Drawn mixing fields: C S of colours, then C H of filters, then C constants.

    Within each kind the fields of a channel stand together.

    Parameters
    ----------
    A : ndarray of shape (C, n_filters, k^2 + 1)
        The filters of each channel, the bias in the last column; H = C n_filters in all.
    mean, gain : ndarray of shape (S,)
        The means mu_j and the factors 1 / s_j of the colours.
    activation : Activation
        The function sigma.
    layout : ImageLayout
        Where colours and channels lie in the state.
    kernel_size : int
        The side k of a filter.
    pooling : int or None
        Windows, across and down, that the readout reads.

    Examples
    --------
    >>> from skcode.fields import MixingFields
    >>> family = MixingFields((4, 4, 3), n_channels=5, n_filters=2, pooling=2)
    >>> fields = family.draw(family.n_states(), rng=0, n_inputs=48)
    >>> type(fields).__name__, fields.A.shape
    ('DrawnMixing', (5, 2, 10))
    """

    def __init__(
        self,
        A: FloatArray,
        mean: FloatArray,
        gain: FloatArray,
        activation: Activation,
        layout: ImageLayout,
        kernel_size: int,
        pooling: int | None,
    ):
        self.A = A
        self.mean = mean
        self.gain = gain
        self.activation = activation
        self.layout = layout
        self.kernel_size = kernel_size
        self.pooling = pooling
        self.n_states = layout.n_states
        self.n_cells = layout.n_cells
        self.n_channels = len(A)
        self.n_responses = A.shape[0] * A.shape[1]
        self.n_colours = len(mean)
        self.n_fields = self.n_channels * (self.n_colours + self.n_responses + 1)

    @property
    def parts(self) -> tuple[slice, slice, slice]:
        """The fields of colours, of filters and of constants among all."""
        colours = self.n_channels * self.n_colours
        filters = colours + self.n_channels * self.n_responses
        return slice(colours), slice(colours, filters), slice(filters, self.n_fields)

    @property
    def labels(self) -> list[str]:
        C, S, H = self.n_channels, self.n_colours, self.n_responses
        return [
            *(f"colour[{c}, {j}]" for c in range(C) for j in range(S)),
            *(f"filter[{c}, {j}]" for c in range(C) for j in range(H)),
            *(f"constant[{c}]" for c in range(C)),
        ]

    @property
    def start_scale(self) -> FloatArray:
        scale = np.zeros(self.n_fields)
        colours, filters, _ = self.parts
        scale[colours] = _START_COLOURS / np.sqrt(self.n_colours)
        scale[filters] = _START_FILTERS / np.sqrt(self.n_responses)
        return scale

    def acts(self, n_intervals: int) -> BoolArray:
        acts = np.ones((n_intervals, self.n_fields), dtype=bool)
        colours, filters, _ = self.parts
        acts[1:, colours] = False
        acts[0, filters] = False
        return acts

    @property
    def tape_width(self) -> int:
        responses: int = self.n_responses * self.n_cells
        return responses * (2 if self.activation.keeps_derivative else 1)

    @property
    def n_still(self) -> int:
        return self.layout.n_inputs

    @property
    def observation(self) -> sparse.csr_array | None:
        return None if self.pooling is None else self.layout.pooling(self.pooling)

    def value(self, x: Traced) -> Traced:
        n, p, C = len(x), self.layout.n_inputs, self.n_channels
        colours = anp.reshape(x[:, :p], (n, -1, self.n_colours))
        colours = anp.transpose((colours - self.mean) * self.gain, (0, 2, 1))
        # the last hidden state of the layout's patches is the zero beyond the edge
        reads = self.layout.patches(self.kernel_size).reshape(-1, self.kernel_size**2, self.n_cells)
        padded = anp.concatenate([x, anp.zeros((n, 1), x.dtype)], axis=1)
        patches = padded[:, reads[self.n_colours :]]
        z = anp.einsum("cfk,nckl->ncfl", self.A[..., :-1], patches) + self.A[..., -1:]
        responses = anp.reshape(self.activation.value(z), (n, self.n_responses, -1))
        constant = anp.ones((n, 1, self.n_cells), self.A.dtype)
        written = [
            anp.einsum("ce,njl->ncjel", np.eye(C, dtype=self.A.dtype), seen)
            for seen in (colours, responses, constant)
        ]
        hidden = [anp.reshape(w, (n, -1, C * self.n_cells)) for w in written]
        hidden = anp.concatenate(hidden, axis=1)
        pixels = anp.zeros((n, self.n_fields, p), self.A.dtype)
        return anp.concatenate([pixels, hidden], axis=2)

    def astype(self, dtype: DTypeLike) -> DrawnMixing:
        return DrawnMixing(
            self.A.astype(dtype),
            self.mean.astype(dtype),
            self.gain.astype(dtype),
            self.activation,
            self.layout,
            self.kernel_size,
            self.pooling,
        )

    def bind(self, u: FloatArray) -> _Mixing:
        return self._mixing(u, True, True)

    def bind_interval(self, u: FloatArray, interval: int, n_intervals: int) -> _Mixing:
        return self._mixing(u, interval == 0, interval > 0)

    def _mixing(self, u: FloatArray, with_colours: bool, with_filters: bool) -> _Mixing:
        u = u.astype(self.A.dtype, copy=False)
        colours, filters, constants = (u[part] for part in self.parts)
        by_colour = by_response = None
        if with_colours:
            by_colour = colours.reshape(-1, self.n_colours) * self.gain
            constants = constants - by_colour @ self.mean
        if with_filters:
            by_response = filters.reshape(-1, self.n_responses)
        return _Mixing(by_colour, by_response, constants)

    def kernel(self, n: int, dtype: DTypeLike, lead: tuple[int, ...] = ()) -> _MixingKernel:
        return _MixingKernel(self, n, dtype)


class _Mixing(NamedTuple):
    """One row of controls as matrices; None where the fields of a kind do not act.

    Scales and means of the colours are part of the first and the last.
    """

    by_colour: FloatArray | None  # (C, S): what channels take of the colours as they are
    by_response: FloatArray | None  # (C, H): what channels take of the responses of filters
    constants: FloatArray  # (C,)


class _Tape(NamedTuple):
    s: FloatArray  # (C, n_filters, cells n): the responses
    ds: FloatArray | None  # the same, sigma', where the activation keeps it


class _MixingKernel(FieldKernel[_Mixing, _Tape]):
    """Small products for the filters of each channel, large ones that mix.

    In a block, colours are (cells, S, n), as pixels come, and channels (C, cells, n).
    """

    def __init__(self, fields: DrawnMixing, n: int, dtype: DTypeLike):
        self.fields = fields
        self.n = n
        self.dtype = np.dtype(dtype)
        C, width, cells = fields.n_channels, fields.kernel_size**2, fields.n_cells
        size = max(1, _GROUP_BYTES // ((width + 1) * cells * n * self.dtype.itemsize))
        self.groups = [slice(i, min(i + size, C)) for i in range(0, C, size)]
        # patches (channels, k^2 + 1, h, w, n): zeros beyond the edge and a last row of ones, which
        # nothing overwrites
        self.patches = np.zeros((min(size, C), width + 1, *fields.layout.grid, n), self.dtype)
        self.patches[:, -1] = 1
        self.adjoint = np.empty((min(size, C), width, *fields.layout.grid, n), self.dtype)
        self.responses = np.empty((fields.n_responses, cells * n), self.dtype)
        self.scratch = np.empty_like(self.responses)
        self.windows = list(_windows(fields.kernel_size, fields.layout.grid))

    def new_tape(self) -> _Tape:
        shape = (*self.fields.A.shape[:2], self.fields.n_cells * self.n)
        keeps = self.fields.activation.keeps_derivative
        return _Tape(np.empty(shape, self.dtype), np.empty(shape, self.dtype) if keeps else None)

    def forward(self, bound: _Mixing, x: FloatArray, v: FloatArray, tape: _Tape) -> None:
        hidden = self._hidden(v)
        v[: self.fields.layout.n_inputs] = 0
        hidden[...] = bound.constants[:, None, None]
        if bound.by_response is not None:
            self._respond(self._hidden(x[:-1]), tape.s)
            self.fields.activation.forward(tape.s, tape.ds)
            mixed = bound.by_response @ tape.s.reshape(len(self.responses), -1)
            hidden += mixed.reshape(hidden.shape)
        if bound.by_colour is not None:
            hidden += (bound.by_colour @ self._colours(x)).transpose(1, 0, 2)

    def pullback(
        self,
        bound: _Mixing,
        x: FloatArray,
        tape: _Tape,
        p: FloatArray,
        x_bar: FloatArray | None,
        u_bar: FloatArray,
    ) -> None:
        # 2 times as fast as the default: one product over all places and samples at once
        adjoint = self._hidden(p)
        colours, filters, constants = self.fields.parts
        total = adjoint.sum(axis=(1, 2))
        u_bar[constants] += total
        if bound.by_colour is not None:
            by_place = adjoint.transpose(1, 0, 2) @ self._colours(x).transpose(0, 2, 1)
            by_colour = by_place.sum(axis=0) - np.outer(total, self.fields.mean)
            u_bar[colours] += (by_colour * self.fields.gain).ravel()
        if bound.by_response is not None:
            responses = tape.s.reshape(len(self.responses), -1)
            u_bar[filters] += (adjoint.reshape(len(adjoint), -1) @ responses.T).ravel()
        if x_bar is not None:
            self._pull_state(bound, tape, adjoint, x_bar)

    def rows(
        self,
        bound: _Mixing,
        x: FloatArray,
        tape: _Tape,
        p: FloatArray,
        x_bar: FloatArray | None,
        u_rows: FloatArray,
    ) -> None:
        colours, filters, constants = self.fields.parts
        cells, n = self.fields.n_cells, self.n
        for k in np.ndindex(p.shape[:-2]):
            adjoint = self._hidden(p[k])
            rows = u_rows[k]
            rows[...] = 0
            rows[constants] = adjoint.sum(axis=1)
            if bound.by_colour is not None:
                seen = np.einsum("cgn,gsn->csn", adjoint, self._colours(x))
                seen -= rows[constants][:, None] * self.fields.mean[:, None]
                rows[colours] = (seen * self.fields.gain[:, None]).reshape(-1, n)
            if bound.by_response is not None:
                responses = tape.s.reshape(-1, cells, n)
                rows[filters] = np.einsum("cgn,hgn->chn", adjoint, responses).reshape(-1, n)
            if x_bar is not None:
                self._pull_state(bound, tape, adjoint, x_bar[k])

    def pushforward(
        self,
        bound: _Mixing,
        x: FloatArray,
        tape: _Tape,
        dx: FloatArray,
        bound_du: _Mixing,
        dv: FloatArray,
    ) -> None:
        # this writes the same responses to the tape once more
        self.forward(bound_du, x, dv, tape)
        hidden = self._hidden(dv)
        if bound.by_response is not None:
            moved = self.responses.reshape(tape.s.shape)
            self._respond(self._hidden(dx), moved, bias=False)
            moved *= self._derivative(tape)
            mixed = bound.by_response @ moved.reshape(len(self.responses), -1)
            hidden += mixed.reshape(hidden.shape)
        if bound.by_colour is not None:
            hidden += (bound.by_colour @ self._colours(dx)).transpose(1, 0, 2)

    def _colours(self, x: FloatArray) -> FloatArray:
        fields = self.fields
        return x[: fields.layout.n_inputs].reshape(fields.n_cells, fields.n_colours, self.n)

    def _hidden(self, x: FloatArray) -> FloatArray:
        fields = self.fields
        return x[fields.layout.n_inputs :].reshape(fields.n_channels, fields.n_cells, self.n)

    def _respond(self, hidden: FloatArray, out: FloatArray, bias: bool = True) -> None:
        """Responses (C, n_filters, cells n) of the filters, before the activation."""
        images = hidden.reshape(len(hidden), *self.fields.layout.grid, self.n)
        A = self.fields.A if bias else self.fields.A[..., :-1]
        for group in self.groups:
            patches = self.patches[: group.stop - group.start]
            for j, (to, source) in enumerate(self.windows):
                patches[(slice(None), j, *to)] = images[(group, *source)]
            flat = patches.reshape(*patches.shape[:2], -1)
            np.matmul(A[group], flat[:, : A.shape[-1]], out=out[group])

    def _pull_state(
        self, bound: _Mixing, tape: _Tape, adjoint: FloatArray, x_bar: FloatArray
    ) -> None:
        fields = self.fields
        pixels, hidden = self._colours(x_bar), self._hidden(x_bar)
        if bound.by_colour is None:
            pixels[...] = 0
        else:
            np.matmul(bound.by_colour.T, adjoint.transpose(1, 0, 2), out=pixels)
        hidden[...] = 0
        if bound.by_response is None:
            return
        flat = adjoint.reshape(len(adjoint), -1)
        q = np.matmul(bound.by_response.T, flat, out=self.responses).reshape(tape.s.shape)
        q *= self._derivative(tape)
        images = hidden.reshape(len(hidden), *fields.layout.grid, self.n)
        backwards = fields.A[..., :-1].transpose(0, 2, 1)
        for group in self.groups:
            pulled = self.adjoint[: group.stop - group.start]
            np.matmul(backwards[group], q[group], out=pulled.reshape(*pulled.shape[:2], -1))
            for j, (to, source) in enumerate(self.windows):
                images[(group, *source)] += pulled[(slice(None), j, *to)]

    def _derivative(self, tape: _Tape) -> FloatArray:
        return self.fields.activation.derivative(
            tape.s, tape.ds, self.scratch.reshape(tape.s.shape)
        )


def _windows(
    size: int, grid: tuple[int, int]
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """For each entry of a filter the places that see a pixel by it, and those pixels."""
    for i in range(size):
        for j in range(size):
            shifts = (i - size // 2, j - size // 2)
            to = [
                slice(max(-shift, 0), max(length - max(shift, 0), max(-shift, 0)))
                for shift, length in zip(shifts, grid, strict=True)
            ]
            source = [
                slice(part.start + shift, part.stop + shift)
                for part, shift in zip(to, shifts, strict=True)
            ]
            yield (to[0], to[1]), (source[0], source[1])
