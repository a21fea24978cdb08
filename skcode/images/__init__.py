"""Frozen random filters that turn images into smaller images of many colours."""

from skcode.images._patch_filters import PatchFilters

__all__ = ["PatchFilters"]
