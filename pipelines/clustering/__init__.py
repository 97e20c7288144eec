"""Clustering: data sets, algorithms, their steps, and what judges them; no page in here."""
