"""Clustering: algorithms, what helps to choose among them, and how good they are."""
