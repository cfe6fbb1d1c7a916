"""Whole nano-credits in proportion, so that the parts add up to the whole."""

from collections.abc import Mapping


def split(total: int, weights: Mapping[bytes, int]) -> dict[bytes, int]:
    """`total` in proportion to `weights`, which are whole numbers >= 0; parts of 0 are left out.

    Largest remainders (Hamilton's method): each part is its exact share, rounded down or up, and all add up to `total`,
    or to 0 if nobody has any weight. Among equal remainders the smaller address comes first, so that whoever computes
    it gets the same.
    """
    whole = sum(weights.values())
    if not whole:
        return {}
    exact = {address: divmod(total * weight, whole) for address, weight in weights.items()}
    parts = {address: quotient for address, (quotient, _) in exact.items()}
    by_remainder = sorted(exact, key=lambda address: (-exact[address][1], address))
    for address in by_remainder[: total - sum(parts.values())]:
        parts[address] += 1
    return {address: part for address, part in parts.items() if part}
