"""DBSCAN and HDBSCAN of many points, over one k-d tree (:mod:`.kd_tree`)."""
