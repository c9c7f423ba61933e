"""The regression from the evidence of claims to the probability that they are follicles."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from follicle_stager.errors import UserError
from follicle_stager.training import calibration
from follicle_stager.training.calibration import EVIDENCE, fit


def claims(seed: int, n: int = 400, **effects: float) -> pd.DataFrame:
    """Claims on 20 slides; the log odds of a follicle are the sum of the effects times the evidence minus its mean."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({name: rng.uniform(0, 1, n) for name in EVIDENCE})
    logit = sum(effect * (table[name] - 0.5) for name, effect in effects.items())
    return table.assign(true=rng.uniform(size=n) < 1 / (1 + np.exp(-logit)), slide=np.arange(n) % 20)


def probability(fitted: calibration.Calibration, table: pd.DataFrame) -> np.ndarray:
    logit = fitted.intercept + sum(weight * table[name] for name, weight in fitted.weights.items())
    return 1 / (1 + np.exp(-logit))


def test_better_evidence_never_lowers_the_probability():
    """Even if, on the slides at hand, oocytes and borders are signs of false claims."""
    table = claims(1, centre=8, oocyte=-4, border=-4, cut=4, spread=-8)
    fitted = fit(table)
    assert fitted.weights["oocyte"] == fitted.weights["border"] == fitted.weights["cut"] == 0
    before = probability(fitted, table)
    for name, supports in EVIDENCE.items():
        better = table.assign(**{name: table[name] + (0.2 if supports else -0.2)})
        assert (probability(fitted, better) >= before).all()
    assert fitted.weights["centre"] > 2
    assert fitted.weights["spread"] < -2


def test_regression_without_bounds_in_force_is_that_of_scikit_learn():
    effects = {name: 5 if supports else -5 for name, supports in EVIDENCE.items()}
    table = claims(2, 2000, **effects)
    x, y = table[list(EVIDENCE)].to_numpy(), table["true"].to_numpy()
    for penalty in (1.0, 30.0):
        other = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=1000).fit(x, y)
        own = calibration._regression(x, y, penalty)
        np.testing.assert_allclose(own, [*other.intercept_, *other.coef_[0]], rtol=1e-3)


def test_stated_probability_is_the_share_of_follicles():
    fitted = fit(claims(3, 20_000, centre=6, oocyte=3, cut=-4))
    for row in fitted.reliability.itertuples():
        assert row.probability == pytest.approx(row.true, abs=0.05)


def test_claims_that_are_all_true_cannot_be_calibrated():
    with pytest.raises(UserError, match="calibration_animals"):
        fit(claims(4).assign(true=True))
