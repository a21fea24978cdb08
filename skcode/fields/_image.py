"""Images as states: cells of pixels, channels on a grid of cells, and the patches around them."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import sparse

from skcode.utils._images import window_means
from skcode.utils._typing import IntArray


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
