"""Shortening a language model: blocks, heads and channels taken out, measured, healed, saved."""
