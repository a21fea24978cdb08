"""Controls that steer given inputs to given outputs: return method, shooting, chains of loops."""

from skcode.geometry.interpolation._interpolate import InterpolationResult, interpolate

__all__ = ["InterpolationResult", "interpolate"]
