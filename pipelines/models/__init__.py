"""Which models there are, where their files lie, and how these come from the hub."""
