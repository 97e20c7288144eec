"""Healing: a pruned model learns to do without what it has lost."""
