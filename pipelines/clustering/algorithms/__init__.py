"""Which clustering algorithms there are: their settings, costs, estimators and fits."""
