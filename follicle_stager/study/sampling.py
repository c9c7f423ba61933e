"""Estimate numbers per ovary from a sample of sections; only the arithmetic, without files.

A section shows every body that it touches, so thin sections show each body more than once, and n·k is too large by the
factor (T + h)/T. Abercrombie's correction (1946) needs the mean height h of the counted bodies in the direction of
cutting. With the visible-nucleus rule, this is the height of the oocyte nucleus, which differs between stages.
"""

from __future__ import annotations

import math


def interval_scaled(n: float, interval: int) -> float:
    """Estimate n·k: the count in every k-th section, scaled up. It is too large by the factor (T + h)/T."""
    return n * _positive("interval", interval)


def abercrombie(n: float, interval: int, *, thickness_um: float, height_um: float, lost_cap_um: float = 0.0) -> float:
    """Abercrombie's estimate k·n·T/(T + h).

    Parameters
    ----------
    n
        Number of profiles counted in all sampled sections.
    interval
        Sampling interval k: every k-th section was taken.
    thickness_um
        Section thickness T, µm.
    height_um
        Mean height h of the bodies, µm.
    lost_cap_um
        Depth up to which a body may reach into a section without being seen, on either side, µm.

    Returns
    -------
    float
        Number of bodies.

    Raises
    ------
    ValueError
        If thickness or interval are not positive, or no body could be seen.
    """
    reach = _positive("thickness_um", thickness_um) + height_um - 2 * lost_cap_um
    if reach <= 0:
        raise ValueError(f"lost_cap_um is {lost_cap_um:g}: a section of {thickness_um:g} µm would then show no body")
    return interval_scaled(n, interval) * thickness_um / reach


def height_from_profiles(mean_diameter_um: float, *, thickness_um: float, lost_cap_um: float = 0.0) -> float:
    """Height of spheres from the mean diameter of their profiles, which is smaller.

    A sphere of diameter D is seen at its full width if its centre lies in the section, and otherwise as a cap. The
    mean profile diameter is therefore d = (T·D + π·D²/4)/(T + D); if caps are lost, the integral ends earlier. This
    function solves for D.

    Parameters
    ----------
    mean_diameter_um
        Mean diameter d of the profiles, µm.
    thickness_um
        Section thickness T, µm.
    lost_cap_um
        Depth up to which a sphere may reach into a section without being seen, on either side, µm.

    Returns
    -------
    float
        Height h = D, µm.

    Raises
    ------
    ValueError
        If a length is not positive.
    """
    d, t = _positive("mean_diameter_um", mean_diameter_um), _positive("thickness_um", thickness_um)
    # The positive root of π/4·D² + (T - d)·D - d·T = 0.
    a, b, c = math.pi / 4, t - d, -d * t
    whole = (-b + math.sqrt(b * b - 4 * a * c)) / (2 * a)
    if not lost_cap_um:
        return whole

    def too_wide(height: float) -> float:
        radius = height / 2
        reach = max(radius - lost_cap_um, 0.0)  # largest distance of the centre of a visible sphere from the section
        caps = reach * math.sqrt(radius**2 - reach**2) + radius**2 * math.asin(reach / radius)
        return (t * height + 2 * caps) / (t + 2 * reach) - d

    if lost_cap_um >= d / 2 or too_wide(d) >= 0:  # only full-width profiles are seen
        return d
    from scipy.optimize import brentq  # takes long to import, and few studies need it

    # Lost caps make the mean profile wider, so the height is between d and the height without lost caps.
    return float(brentq(too_wide, d, max(whole, d + 1e-9))) if too_wide(whole) > 0 else whole


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name} must be positive, and is {value}")
    return value
