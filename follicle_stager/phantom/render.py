"""From a plan to pixels: tissue types, cells drawn one by one, stain amounts, picture.

Everything is drawn in µm and divided by µm/px at the last moment, so one plan gives the same section at any
resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from follicle_stager.phantom.anatomy import LAYER_UM, THETA, Body, FollicleBody, SectionPlan
from follicle_stager.stages import Health, Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from follicle_stager.phantom.appearance import Appearance


@dataclass(frozen=True)
class Tissue:
    """How a kind of tissue looks: cells of a size and spacing in a matrix.

    ``pitch`` µm between cells, ``nucleus`` radius µm, ``elongation``, nuclear stain of nuclei (``dark``) and of
    the matrix (``basophil``), counterstain of the matrix (``pink``), share of it that is open (``gaps``).
    """

    pitch: float
    nucleus: float
    elongation: float
    dark: float
    basophil: float
    pink: float
    gaps: float = 0.0


GLASS, LUMEN, FLUID, OOCYTE, ZONA = 0, 1, 2, 3, 4
_FIRST_TISSUE = 5
TISSUES: dict[str, Tissue] = {
    "stroma": Tissue(8.0, 2.7, 2.4, 0.85, 0.10, 0.42),
    "interstitial gland": Tissue(9.0, 3.0, 1.15, 0.75, 0.08, 0.38, gaps=0.28),
    "cortex": Tissue(7.0, 2.5, 2.0, 0.90, 0.12, 0.38),
    "granulosa": Tissue(6.6, 2.9, 1.15, 0.95, 0.20, 0.16),
    "theca": Tissue(6.5, 2.2, 3.2, 0.85, 0.08, 0.50),
    "luteal": Tissue(12.0, 3.6, 1.1, 0.65, 0.10, 0.62, gaps=0.04),
    "vessel wall": Tissue(7.0, 2.0, 3.5, 0.90, 0.05, 0.70),
    "flat granulosa": Tissue(9.0, 2.2, 2.8, 0.95, 0.12, 0.25),
    "dying granulosa": Tissue(7.8, 2.3, 1.1, 1.0, 0.14, 0.20, gaps=0.25),
}
_CODE = {name: _FIRST_TISSUE + i for i, name in enumerate(TISSUES)}


def render_section(plan: SectionPlan, look: Appearance, *, mpp: float) -> NDArray[np.uint8]:
    """Draw one section on empty glass.

    Parameters
    ----------
    plan
        Anatomy, µm.
    look
        Stain and scanner.
    mpp
        µm/px of the picture.

    Returns
    -------
    ndarray of uint8, (y, x, 3)
    """
    return _Canvas(plan, mpp).picture(look)


class _Canvas:
    """Maps that are filled in from the ground up, then developed."""

    def __init__(self, plan: SectionPlan, mpp: float) -> None:
        self.plan, self.mpp = plan, mpp
        self.rng = np.random.default_rng(plan.seed)
        self.shape = round(plan.height / mpp), round(plan.width / mpp)
        self.kind = np.zeros(self.shape, np.uint8)
        self.direction = self._noise(120.0) * 2.5
        self.red_cells = np.zeros(self.shape, np.float32)
        self.nuclei: list[tuple[float, float, float, float, float, float]] = []
        self._ground()
        for lutein in plan.corpora_lutea:
            self._corpus_luteum(lutein)
        for vessel, content in plan.vessels:
            self._vessel(vessel, content)
        for follicle in plan.follicles:
            self._follicle(follicle)
        self._cracks()
        self._scatter_cells()

    def picture(self, look: Appearance) -> NDArray[np.uint8]:
        """Stain amounts from the maps, then the picture."""
        nuclei = self._stamp_nuclei()
        matrix_h = np.zeros(self.shape, np.float32)
        matrix_e = np.zeros(self.shape, np.float32)
        for name, tissue in TISSUES.items():
            where = self.kind == _CODE[name]
            matrix_h[where], matrix_e[where] = tissue.basophil, tissue.pink
        for code, basophil, pink in ((FLUID, 0.01, 0.07), (OOCYTE, 0.17, 0.42), (ZONA, 0.03, 0.60)):
            where = self.kind == code
            matrix_h[where], matrix_e[where] = basophil, pink
        texture = 1 + 0.25 * self._noise(2.5) + 0.12 * self._noise(8.0)
        smooth = 1 + 0.06 * self._noise(3.0)
        texture = np.where((self.kind == OOCYTE) | (self.kind == FLUID), smooth, texture)
        matrix_h *= texture
        matrix_e *= texture
        openings = self._noise(6.0)
        for name, tissue in TISSUES.items():
            if tissue.gaps:
                cut = np.quantile(openings[::4, ::4], 1 - tissue.gaps)
                hole = np.clip((openings - cut) * 6, 0, 1) * (self.kind == _CODE[name])
                matrix_h *= 1 - hole
                matrix_e *= 1 - hole
        red = ndi.gaussian_filter(self.red_cells, 0.6 / self.mpp)
        nuclei *= 1 + 0.18 * self._noise(1.6)
        h = np.maximum(matrix_h, nuclei)
        e = matrix_e * (1 - 0.6 * np.clip(nuclei, 0, 1)) + red
        thickness = 1 + 0.10 * self._noise(300.0)
        return look.develop(
            self.rng, (h * thickness).astype(np.float32), (e * thickness).astype(np.float32), mpp=self.mpp
        )

    # -- tissue ---------------------------------------------------------------------------------------------

    def _ground(self) -> None:
        surface = self.plan.surface
        u, _, _ = self._relative(surface, self._everything())
        ragged = 0.006 * self._noise(12.0)
        inside = u + ragged < 1
        depth = (1 - u) * surface.radius.mean()
        self.kind[inside] = _CODE["stroma"]
        gland = (self._noise(70.0) > 0.12) & inside & (depth > 60)
        self.kind[gland] = _CODE["interstitial gland"]
        self.kind[inside & (depth < 45 + 15 * self._noise(60.0))] = _CODE["cortex"]
        self._ring(surface, -3.0, 7.0, "cortex", flat=1.2)

    def _corpus_luteum(self, body: Body) -> None:
        window = self._window(body, 12)
        u, _, _ = self._relative(body, window)
        kind = self.kind[window]
        kind[(u >= 1) & ((u - 1) * body.radius.mean() < 7)] = _CODE["theca"]
        kind[u < 1] = _CODE["luteal"]
        self._around(body, window, 10)

    def _vessel(self, body: Body, content: str) -> None:
        wall = self.rng.uniform(2.5, 7.0)
        window = self._window(body, wall + 3)
        u, _, _ = self._relative(body, window)
        kind = self.kind[window]
        kind[(u >= 1) & ((u - 1) * body.radius.mean() < wall)] = _CODE["vessel wall"]
        kind[u < 1] = LUMEN
        self._around(body, window, wall + 3)
        if content == "plasma":
            kind[u < 0.95] = FLUID
        if content == "red cells":
            cells = np.clip(0.8 + self._noise(5.0)[window] * 1.2, 0, 1.6)
            self.red_cells[window] = np.where(u < 0.97, 1.3 * cells, self.red_cells[window])

    def _follicle(self, f: FollicleBody) -> None:
        body = f.outline
        window = self._window(body, f.theca_um + 8)
        u, _, _ = self._relative(body, window)
        kind = self.kind[window]
        outside = (u - 1) * body.radius.mean()
        if f.theca_um:
            kind[(u >= 1) & (outside < f.theca_um)] = _CODE["theca"]
            if self.rng.random() < 0.35:  # the tissue shrinks away from the theca, in arcs
                arc = (outside > f.theca_um) & (outside < f.theca_um + 5) & (self._noise(60.0)[window] > 0.25)
                kind[arc & (kind != GLASS)] = LUMEN
        flat = f.stage in (Stage.PRIMORDIAL, Stage.TRANSITIONAL)
        granulosa = "flat granulosa" if flat else "granulosa"
        if f.health == Health.ATRETIC:
            granulosa = "dying granulosa"
        # Cells that are laid in rings below keep the scatter out.
        kind[u < 1] = _CODE[granulosa]
        self._around(body, window, f.theca_um)
        for space in f.fluid:
            self._fill(space, FLUID, only=_CODE[granulosa])
        if f.oocyte is not None:
            cumulus = 22.0 if f.stage == Stage.ANTRAL else (7.0 if f.fluid else 0.0)
            if cumulus:
                self._fill(f.oocyte, _CODE[granulosa], grow=cumulus, only=FLUID)
            self._fill(f.oocyte, ZONA, grow=f.zona_um)
            self._fill(f.oocyte, OOCYTE)
            if f.health == Health.HEALTHY and self.rng.random() < 0.4:  # shrinkage at the zona, in an arc
                self._shrink(f.oocyte, f.zona_um)
        self._granulosa_cells(f, granulosa, flat=flat)
        if f.nucleus is not None:
            self._germinal_vesicle(f.nucleus)

    def _granulosa_cells(self, f: FollicleBody, name: str, *, flat: bool) -> None:
        """Rings of cells: the basal layer along the outline, the next ones inside it, a corona on the oocyte."""
        tissue, body = TISSUES[name], f.outline
        if flat:
            count = int(self.rng.integers(4, 9)) if f.stage == Stage.PRIMORDIAL else int(self.rng.integers(8, 14))
            height = float(np.clip(_thickness(f), 2.0, 6.0))
            self._ring(
                body,
                -height / 2,
                2 * np.pi * body.radius.mean() / count,
                name,
                flat=3.2 if height < 4 else 1.6,
            )
            return
        if f.health == Health.ATRETIC:
            return  # scattered later, with pyknotic ones among them
        total = _thickness(f)
        rings = max(1, round(total / LAYER_UM))
        step = total / rings
        for k in range(rings):
            self._ring(body, -(k + 0.5) * step, tissue.pitch, name, flat=0.85 if k == 0 else 1.0)
        if f.oocyte is not None and rings > 2:
            self._ring(f.oocyte, f.zona_um + 4.0, tissue.pitch, name, flat=0.9)

    def _germinal_vesicle(self, nucleus: Body) -> None:
        r = float(nucleus.radius.mean())
        # Paler than a somatic nucleus, with a rim and one or two nucleoli.
        self.nuclei.append((nucleus.x, nucleus.y, r, r, 0.0, 0.38))
        for _ in range(int(self.rng.integers(1, 3))):
            shift = self.rng.uniform(-0.4, 0.4, 2) * r
            self.nuclei.append((nucleus.x + shift[0], nucleus.y + shift[1], 0.2 * r, 0.2 * r, 0.0, 0.85))

    def _shrink(self, oocyte: Body, zona: float) -> None:
        window = self._window(oocyte, zona + 6)
        u, angle, _ = self._relative(oocyte, window)
        outside = (u - 1) * oocyte.radius.mean()
        start = self.rng.uniform(-np.pi, np.pi)
        arc = np.cos(angle - start) > self.rng.uniform(-0.3, 0.6)
        gap = arc & (outside > zona - 0.5) & (outside < zona + self.rng.uniform(1.5, 4))
        self.kind[window][gap] = LUMEN

    def _cracks(self) -> None:
        for _ in range(int(self.rng.integers(0, 4))):
            path, patchy = self._noise(150.0), self._noise(200.0)
            crack = (np.abs(path) < 0.008) & (patchy > 0.25)
            soft = np.isin(self.kind, [_CODE[n] for n in ("stroma", "interstitial gland", "luteal", "cortex")])
            self.kind[crack & soft] = LUMEN

    # -- cells ----------------------------------------------------------------------------------------------

    def _scatter_cells(self) -> None:
        """Fill every tissue that has no ordered cells with a jittered lattice of its own pitch."""
        for name, tissue in TISSUES.items():
            if name in ("granulosa", "flat granulosa"):
                continue
            pitch = tissue.pitch
            ys = np.arange(0, self.plan.height, pitch * 0.87)
            xs = np.arange(0, self.plan.width, pitch)
            x, y = np.meshgrid(xs, ys)
            x = (x + (np.arange(len(ys))[:, None] % 2) * pitch / 2 + self.rng.normal(0, 0.24 * pitch, x.shape)).ravel()
            y = (y + self.rng.normal(0, 0.24 * pitch, y.shape)).ravel()
            self._add_cells(x, y, None, name)
        self._add_cumulus()

    def _add_cumulus(self) -> None:
        """Granulosa that the rings missed: cumulus, islands between lakes, caps."""
        tissue = TISSUES["granulosa"]
        pitch = tissue.pitch
        xs, ys = np.meshgrid(np.arange(0, self.plan.width, pitch), np.arange(0, self.plan.height, pitch * 0.87))
        x = (xs + self.rng.normal(0, 0.2 * pitch, xs.shape)).ravel()
        y = (ys + self.rng.normal(0, 0.2 * pitch, ys.shape)).ravel()
        free = np.ones(self.shape, bool)
        for cx, cy, *_ in self.nuclei:
            r, c = int(cy / self.mpp), int(cx / self.mpp)
            if 0 <= r < self.shape[0] and 0 <= c < self.shape[1]:
                free[r, c] = False
        distance = ndi.distance_transform_edt(free) * self.mpp
        row, column = self._rc(x, y)
        apart = distance[row, column] > 0.75 * pitch
        self._add_cells(x[apart], y[apart], None, "granulosa")

    def _ring(self, body: Body, offset: float, pitch: float, name: str, *, flat: float) -> None:
        """Cells in a row along a body's border, ``offset`` µm outside it; ``flat`` is their elongation."""
        mean = float(body.radius.mean()) + offset
        if mean < 3:
            return
        count = max(4, round(2 * np.pi * mean / pitch))
        angle = self.rng.uniform(0, 2 * np.pi) + np.arange(count) * 2 * np.pi / count
        angle += self.rng.normal(0, 0.2, count) * 2 * np.pi / count
        r = np.interp(angle, THETA, body.radius, period=2 * np.pi) + offset + self.rng.normal(0, 0.9, count)
        self._add_cells(
            body.x + r * np.cos(angle), body.y + r * np.sin(angle), angle + np.pi / 2, name, elongation=flat
        )

    def _add_cells(
        self,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        turn: NDArray[np.float64] | None,
        name: str,
        elongation: float | None = None,
    ) -> None:
        tissue = TISSUES[name]
        row, column = self._rc(x, y)
        here = self.kind[row, column] == _CODE[name]
        x, y, row, column = x[here], y[here], row[here], column[here]
        angle = turn[here] if turn is not None else self.direction[row, column] + self.rng.normal(0, 0.35, len(x))
        stretch = np.sqrt(np.clip((elongation or tissue.elongation) * self.rng.uniform(0.85, 1.15, len(x)), 0.6, 5))
        radius = tissue.nucleus * self.rng.uniform(0.85, 1.15, len(x))
        dark = tissue.dark * self.rng.uniform(0.75, 1.15, len(x))
        if name == "dying granulosa":
            pyknotic = self.rng.random(len(x)) < 0.45
            radius = np.where(pyknotic, 0.6 * radius, radius)
            dark = np.where(pyknotic, 1.5 * dark, dark)
        self.nuclei += list(zip(x, y, radius * stretch, radius / stretch, angle, dark, strict=True))

    def _stamp_nuclei(self) -> NDArray[np.float32]:
        """All nuclei as soft-edged ellipses; where two overlap the darker one shows."""
        amount = np.zeros(self.shape, np.float32)
        for x, y, a, b, angle, dark in self.nuclei:
            a, b = a / self.mpp, b / self.mpp
            cx, cy = x / self.mpp - 0.5, y / self.mpp - 0.5
            reach = max(a, b) + 1.5
            x0, x1 = max(0, int(cx - reach)), min(self.shape[1], int(cx + reach) + 2)
            y0, y1 = max(0, int(cy - reach)), min(self.shape[0], int(cy + reach) + 2)
            if x0 >= x1 or y0 >= y1:
                continue
            dx = np.arange(x0, x1, dtype=np.float32) - np.float32(cx)
            dy = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(cy)
            c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
            d = np.hypot((c * dx + s * dy) / a, (c * dy - s * dx) / b)
            edge = np.clip((1 - d) * min(a, b) + 0.5, 0, 1)
            # Chromatin lies at the rim of a nucleus.
            np.maximum(amount[y0:y1, x0:x1], dark * edge * (0.8 + 0.2 * np.minimum(d, 1)), out=amount[y0:y1, x0:x1])
        return amount

    # -- geometry -------------------------------------------------------------------------------------------

    def _everything(self) -> tuple[slice, slice]:
        return slice(0, self.shape[0]), slice(0, self.shape[1])

    def _window(self, body: Body, margin: float) -> tuple[slice, slice]:
        reach = body.reach + margin
        y0, y1 = int((body.y - reach) / self.mpp), int((body.y + reach) / self.mpp) + 1
        x0, x1 = int((body.x - reach) / self.mpp), int((body.x + reach) / self.mpp) + 1
        return slice(max(0, y0), min(self.shape[0], y1)), slice(max(0, x0), min(self.shape[1], x1))

    def _relative(
        self, body: Body, window: tuple[slice, slice]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Distance from the centre in units of the body's radius there, angle, and distance in µm."""
        y = (np.arange(window[0].start, window[0].stop)[:, None] + 0.5) * self.mpp - body.y
        x = (np.arange(window[1].start, window[1].stop)[None, :] + 0.5) * self.mpp - body.x
        angle, distance = np.arctan2(y, x), np.hypot(y, x)
        radius = np.interp(angle, THETA, body.radius, period=2 * np.pi)
        return distance / radius, angle, distance

    def _fill(self, body: Body, code: int, *, grow: float = 0.0, only: int | None = None) -> None:
        window = self._window(body, grow)
        u, _, _ = self._relative(Body(body.x, body.y, body.radius + grow), window)
        kind = self.kind[window]
        kind[(u < 1) & ((kind == only) if only is not None else True)] = code

    def _around(self, body: Body, window: tuple[slice, slice], reach: float) -> None:
        """Cells near a body lie along its border."""
        u, angle, _ = self._relative(body, window)
        near = (u > 0.9) & ((u - 1) * body.radius.mean() < reach + 4)
        self.direction[window][near] = angle[near] + np.pi / 2

    def _rc(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        row = np.clip((y / self.mpp).astype(np.intp), 0, self.shape[0] - 1)
        column = np.clip((x / self.mpp).astype(np.intp), 0, self.shape[1] - 1)
        return row, column

    def _noise(self, cell_um: float) -> NDArray[np.float32]:
        """Smooth noise of about unit amplitude with features of ``cell_um``."""
        cell = max(cell_um / self.mpp, 1.0)
        coarse = tuple(int(n / cell) + 4 for n in self.shape)
        values = self.rng.normal(size=coarse).astype(np.float32)
        zoomed = ndi.zoom(
            values,
            [(n + 2 * cell) / c for n, c in zip(self.shape, coarse, strict=True)],
            order=1 if cell < 4 else 3,
        )
        offset = int(cell / 2)
        out = zoomed[offset : offset + self.shape[0], offset : offset + self.shape[1]]
        return np.asarray(out / max(float(out.std()), 1e-6) * 0.5)


def _thickness(f: FollicleBody) -> float:
    """Granulosa thickness in the plane of the section, µm."""
    outer = float(f.outline.radius.mean())
    if f.stage == Stage.ANTRAL and f.fluid:
        return outer - float(f.fluid[0].radius.mean())
    if f.oocyte is None:
        return outer
    return max(2.0, outer - float(f.oocyte.radius.mean()) - f.zona_um)
