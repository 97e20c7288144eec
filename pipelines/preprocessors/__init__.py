"""Preprocessors for ControlNet and T2I-Adapter: a picture in, a condition map out."""
