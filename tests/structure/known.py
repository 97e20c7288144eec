"""Lists of what does not hold yet."""

from __future__ import annotations


def assert_shrinks(found: dict[str, int], known: dict[str, int]) -> None:
    """Nothing is found that is not known, nor more of it; and what is known is still there."""
    new = {name: count for name, count in found.items() if count > known.get(name, 0)}
    gone = sorted(known.keys() - found.keys())
    assert not new, f"only { ({name: known.get(name, 0) for name in new}) } is known"
    assert not gone, "take these off the list"
