"""Chat templates in processes of their own, since nobody knows when a stranger's template ends."""
