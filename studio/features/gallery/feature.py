"""One's own pictures."""

from __future__ import annotations

from studio.core.feature import Feature
from studio.features.gallery.several_pictures_api import several_pictures_router
from studio.features.gallery.tab import GalleryTab

FEATURE = Feature(name="gallery", routes=(several_pictures_router,), tabs=(GalleryTab,))
