"""What every engine uses. Knows none of them."""
