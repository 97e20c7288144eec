"""Pictures from outside, and files of pictures."""
