"""Clustering step by step: plain implementations that show each step and end as scikit-learn does.

Each module has ``steps(X, …)``, a generator of frozen ``Step`` objects; :mod:`.frames` makes an
animation of them that is small enough for a page.
"""
