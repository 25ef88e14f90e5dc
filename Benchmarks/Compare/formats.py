"""Figures as people read them."""


def number(value):
    """Three digits that matter; thousands as k, millions as M."""
    if value >= 1e6:
        return f"{value / 1e6:.2f}M"
    if value >= 10e3:
        return f"{value / 1e3:.0f}k"
    if value >= 1000:
        return f"{value / 1e3:.1f}k"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.{1 if value >= 10 else 2}f}"
