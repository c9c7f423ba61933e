"""From a sample of sections to a number per ovary: the arithmetic, without files.

A section shows every body that it touches, so thin sections show each body more than once, and n·k counts too many by
(T + h)/T. Abercrombie's correction (1946) needs the mean height h of what is counted, along the direction of cutting:
for follicles by the visible-nucleus rule, that of the oocyte's nucleus, for each stage its own.
"""

from __future__ import annotations

import math

from scipy.optimize import brentq


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


def height_from_profiles(mean_diameter_um: float, *, thickness_um: float, lost_cap_um: float = 0.0) -> float:
    """Height of spheres from the mean diameter of their profiles, which is too small.

    A sphere of diameter D is seen at its full width while its middle lies in the section, and as a cap otherwise,
    so that the mean profile is d = (T·D + π·D²/4)/(T + D); of caps that are lost the integral stops earlier. This
    solves for D.

    Parameters
    ----------
    mean_diameter_um
        Mean diameter of the profiles, d.
    thickness_um
        Of a section, T.
    lost_cap_um
        Of a sphere that reaches into a section by less than this no profile is seen, on either side.

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
    whole = (-b + math.sqrt(b * b - 4 * a * c)) / (2 * a)
    if not lost_cap_um:
        return whole

    def too_wide(height: float) -> float:
        radius = height / 2
        reach = max(radius - lost_cap_um, 0.0)  # how far from the section the middle of a sphere that is seen may lie
        caps = reach * math.sqrt(radius**2 - reach**2) + radius**2 * math.asin(reach / radius)
        return (t * height + 2 * caps) / (t + 2 * reach) - d

    if lost_cap_um >= d / 2 or too_wide(d) >= 0:  # nothing is seen but whole profiles
        return d
    # With caps lost the mean profile is wider, so that the height is between d and the one without.
    return float(brentq(too_wide, d, max(whole, d + 1e-9))) if too_wide(whole) > 0 else whole


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name} must be positive, and is {value}")
    return value
