"""From a sample of sections to a number per ovary: the arithmetic, without files.

A section shows every body that it touches, so thin sections show each body more than once, and n·k counts too many by
(T + h)/T. Abercrombie's correction (1946) needs the mean height h of what is counted, along the direction of cutting:
for follicles by the visible-nucleus rule, that of the oocyte's nucleus, for each stage its own.
"""

from __future__ import annotations

import math


def interval_scaled(n: float, interval: int) -> float:
    """Estimate n·k: counts in every k-th section, scaled up. Too high by (T + h)/T."""
    return n * _positive("interval", interval)


def abercrombie(n: float, interval: int, *, thickness_um: float, height_um: float, lost_cap_um: float = 0.0) -> float:
    """Abercrombie's estimate k·n·T/(T + h).

    Parameters
    ----------
    n
        Profiles counted in all sections that were taken.
    interval
        Every how many-th section was taken, k.
    thickness_um
        Of a section, T.
    height_um
        Mean height of the bodies, h.
    lost_cap_um
        A body that reaches into a section by less than this is not seen, on either side.

    Returns
    -------
    float
        Number of bodies.

    Raises
    ------
    ValueError
        If thickness or interval are not positive, or nothing of a body could be seen.
    """
    reach = _positive("thickness_um", thickness_um) + height_um - 2 * lost_cap_um
    if reach <= 0:
        raise ValueError(f"lost_cap_um is {lost_cap_um:g}: a section of {thickness_um:g} µm would then show no body")
    return interval_scaled(n, interval) * thickness_um / reach


def height_from_profiles(mean_diameter_um: float, *, thickness_um: float) -> float:
    """Height of spheres from the mean diameter of their profiles, which is too small.

    A sphere of diameter D is seen at its full width while its middle lies in the section, and as a cap otherwise,
    so that the mean profile is d = (T·D + π·D²/4)/(T + D). This solves for D.

    Parameters
    ----------
    mean_diameter_um
        Mean diameter of the profiles, d.
    thickness_um
        Of a section, T.

    Returns
    -------
    float
        D = h, µm.

    Raises
    ------
    ValueError
        If a length is not positive.
    """
    d, t = _positive("mean_diameter_um", mean_diameter_um), _positive("thickness_um", thickness_um)
    # The positive root of π/4·D² + (T - d)·D - d·T = 0.
    a, b, c = math.pi / 4, t - d, -d * t
    return (-b + math.sqrt(b * b - 4 * a * c)) / (2 * a)


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name} must be positive, and is {value}")
    return value
