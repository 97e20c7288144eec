"""Clustering in the studio: data sets, results, animations, the plot and the charts."""
