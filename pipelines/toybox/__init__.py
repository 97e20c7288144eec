"""The Toybox: a procedural world of toys, and the small models that know it by heart.

``vocabulary`` names what exists, ``shapes`` builds each kind from primitives, ``scenes`` lays
toys out, ``captions`` describes them, ``render`` paints them with exact depth, mask and boxes.
No request imports ``render`` or ``train``: they need numba, from ``requirements-dev.txt``.
"""
