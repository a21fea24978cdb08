"""Images as states: cells of pixels, channels on a grid of cells, patches and pooling."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import sparse

from skcode.utils._typing import FloatArray, IntArray


def check_image_shape(image_shape: tuple[int, ...], n_inputs: int) -> tuple[int, int, int]:
    """(h, w, c) from (h, w) or (h, w, c), with h w c = n_inputs."""
    shape = tuple(int(length) for length in image_shape)
    shape = (*shape, 1) if len(shape) == 2 else shape
    if len(shape) != 3 or min(shape) < 1 or np.prod(shape) != n_inputs:
        raise ValueError(
            f"image_shape={image_shape} must be (h, w) or (h, w, c) with as many pixels as there "
            f"are inputs, {n_inputs}."
        )
    return shape


class ImageLayout:
    """The state of m numbers as channels on a grid of cells.

    The first p = h w c coordinates are the image, row by row, the colours of a pixel together. A
    cell is a square of `cell` by `cell` pixels; its pixels are channels of the grid, and the other
    m - p coordinates are further channels, grid by grid. Cells that reach over the edge of the
    image read zeros there.

    Parameters
    ----------
    image_shape : tuple of int
        (h, w, c).
    cell : int
        Side of a cell in pixels.
    n_states : int
        The number m; m - p is a multiple of the number of cells.
    """

    def __init__(self, image_shape: tuple[int, int, int], cell: int, n_states: int):
        h, w, c = image_shape
        self.image_shape = image_shape
        self.cell = cell
        self.n_states = n_states
        self.n_inputs = h * w * c
        self.grid = (-(-h // cell), -(-w // cell))
        self.n_hidden, rest = divmod(n_states - self.n_inputs, self.n_cells)
        if rest:
            raise ValueError(
                f"n_states={n_states} must be {self.n_inputs} pixels plus a multiple of the "
                f"{self.n_cells} cells of the grid."
            )

    @property
    def n_cells(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def n_channels(self) -> int:
        return self.cell**2 * self.image_shape[2] + self.n_hidden

    @cached_property
    def coordinates(self) -> IntArray:
        """State coordinate of each channel and cell, (C, gh, gw); m beyond the image's edge."""
        (h, w, c), s, (gh, gw) = self.image_shape, self.cell, self.grid
        pixels = np.full((gh * s, gw * s, c), self.n_states)
        pixels[:h, :w] = np.arange(self.n_inputs).reshape(h, w, c)
        pixels = pixels.reshape(gh, s, gw, s, c).transpose(1, 3, 4, 0, 2).reshape(-1, gh, gw)
        hidden = np.arange(self.n_inputs, self.n_states).reshape(self.n_hidden, gh, gw)
        return np.concatenate([pixels, hidden])

    def patches(self, size: int) -> IntArray:
        """State coordinates (C size^2, cells) that the patch around each cell reads; m for none."""
        (gh, gw), reach = self.grid, size // 2
        padded = np.pad(
            self.coordinates,
            [(0, 0), (reach, reach), (reach, reach)],
            constant_values=self.n_states,
        )
        shifted = [padded[:, i : i + gh, j : j + gw] for i in range(size) for j in range(size)]
        return np.stack(shifted, axis=1).reshape(-1, gh * gw)

    def pooling(self, side: int) -> sparse.csr_array:
        """Means of the hidden channels over side by side windows, (n_hidden side^2, m)."""
        pixels = sparse.csr_array((self.n_hidden * side**2, self.n_inputs))
        means = sparse.kron(sparse.eye(self.n_hidden), window_means(self.grid, side))
        return sparse.csr_array(sparse.hstack([pixels, means]))


def valid_patches(image_shape: tuple[int, int, int], size: int, stride: int) -> IntArray:
    """Pixels that each patch inside the image reads, (size^2 c, positions)."""
    h, w, c = image_shape
    pixels = np.arange(h * w * c).reshape(h, w, c)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (size, size), axis=(0, 1))
    windows = windows[::stride, ::stride].transpose(3, 4, 2, 0, 1)
    return windows.reshape(size**2 * c, -1)


def position_grid(image_shape: tuple[int, int, int], size: int, stride: int) -> tuple[int, int]:
    """Rows and columns of the patches of `valid_patches`."""
    h, w, _ = image_shape
    return (h - size) // stride + 1, (w - size) // stride + 1


def window_means(grid: tuple[int, int], side: int) -> FloatArray:
    """Matrix (side^2, positions) of means over side by side windows of a grid."""
    means = np.zeros((side, side, *grid))
    for i in range(side):
        for j in range(side):
            means[i, j, _window(i, side, grid[0]), _window(j, side, grid[1])] = 1
    flat = means.reshape(side**2, -1)
    weights: FloatArray = flat / flat.sum(axis=1, keepdims=True)
    return weights


def _window(i: int, side: int, length: int) -> slice:
    """Window i of `side` windows that cover a length; they overlap where it is no multiple."""
    return slice(i * length // side, -(-(i + 1) * length // side))
