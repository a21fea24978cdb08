"""Frozen random filters that turn images into smaller images of many colours."""

from skcode.images._patch_filters import PatchFilters
from skcode.utils._publish import publish

__all__ = ["PatchFilters"]

publish(__name__)
