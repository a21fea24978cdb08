"""Images before the flow: frozen filters of patches, and shifted copies."""

from skcode.images._patch_filters import PatchFilters
from skcode.images._shifted import ShiftedImagesClassifier
from skcode.utils._publish import publish

__all__ = ["PatchFilters", "ShiftedImagesClassifier"]

publish(__name__)
