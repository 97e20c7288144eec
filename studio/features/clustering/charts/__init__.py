"""Charts of clusterings: each is drawn as SVG."""
