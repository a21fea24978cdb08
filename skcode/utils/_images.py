"""Images as rows of pixels: shapes, patches and windows."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from skcode.utils._typing import FloatArray, IntArray


def check_image_shape(image_shape: tuple[int, ...], n_inputs: int) -> tuple[int, int, int]:
    """(h, w, c) from (h, w) or (h, w, c), with h w c = n_inputs."""
    whole = all(isinstance(length, Integral) for length in image_shape)
    shape = tuple(int(length) for length in image_shape) if whole else ()
    shape = (*shape, 1) if len(shape) == 2 else shape
    if len(shape) != 3 or min(shape) < 1 or np.prod(shape) != n_inputs:
        raise ValueError(
            f"image_shape={image_shape} must be (h, w) or (h, w, c) with as many pixels as there "
            f"are inputs, {n_inputs}."
        )
    return shape


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


def windows(side: int, length: int) -> list[slice]:
    """Windows that cover a length, `side` of them; they overlap where it is no multiple."""
    return [slice(i * length // side, -(-(i + 1) * length // side)) for i in range(side)]


def window_means(grid: tuple[int, int], side: int) -> FloatArray:
    """Matrix (side^2, positions) of means over side by side windows of a grid."""
    means = np.zeros((side, side, *grid))
    for i, rows in enumerate(windows(side, grid[0])):
        for j, columns in enumerate(windows(side, grid[1])):
            means[i, j, rows, columns] = 1
    flat = means.reshape(side**2, -1)
    weights: FloatArray = flat / flat.sum(axis=1, keepdims=True)
    return weights
