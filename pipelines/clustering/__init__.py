"""Clustering: data in, labels out. Headless: no page, no web, no database."""
