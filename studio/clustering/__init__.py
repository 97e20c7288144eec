"""The clustering playground's part of the studio."""
