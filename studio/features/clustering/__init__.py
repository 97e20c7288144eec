"""Clustering in the studio: data sets, results, films, the plot and the charts."""
