"""One's own pictures."""

from __future__ import annotations

from studio.core.feature import Feature
from studio.features.gallery.several_pictures_api import router
from studio.features.gallery.tab import GalleryTab

FEATURE = Feature(name="gallery", routes=router, tabs=(GalleryTab,))
