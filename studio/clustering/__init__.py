"""What stands behind the clustering tab and its part of the API: data sets and their tables."""
