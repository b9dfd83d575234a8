"""Laws: the published numbers, fits that find what was planted, and silence outside their range."""

import numpy as np
import pytest

from curation.errors import ConfigError
from training.laws import LossLaw, PowerLaw, step_law


def test_step_law_gives_the_papers_numbers():
    rate, batch = step_law(440e6, 10e9)
    assert (rate.value, batch.value) == pytest.approx((1.4e-3, 0.30e6), rel=0.04)
    assert not rate.caution and not batch.caution


def test_step_law_says_where_it_guesses():
    rate, batch = step_law(1e6, 20e6)
    assert rate.value == 0.01 and "outside" in rate.caution and "cut" in rate.caution
    assert batch.value == pytest.approx(8.6e3, rel=0.02) and "tokens 2e+07" in batch.caution


def runs():
    rng = np.random.default_rng(0)
    return np.exp(rng.uniform(np.log(1e6), np.log(1e8), 24)), np.exp(rng.uniform(np.log(1e7), np.log(1e9), 24)), rng


def test_a_power_law_is_recovered_from_noisy_runs():
    n, d, rng = runs()
    law = PowerLaw.fit({"n": n, "d": d}, 2.5 * n**-0.4 * d**0.2 * np.exp(rng.normal(0, 0.02, 24)))
    assert law.exponents == pytest.approx({"n": -0.4, "d": 0.2}, abs=0.02)
    assert 0.01 < law.error < 0.03
    assert law.predict(n=1e7, d=1e8).value == pytest.approx(2.5 * 1e7**-0.4 * 1e8**0.2, rel=0.03)


def test_chinchillas_form_is_recovered():
    n, d, _ = runs()
    law = LossLaw.fit(n, d, 1.7 + 400 / n**0.34 + 410 / d**0.28)
    assert (law.floor, law.alpha, law.beta) == pytest.approx((1.7, 0.34, 0.28), rel=0.02)
    assert law.predict(2e7, 2e8).value == pytest.approx(1.7 + 400 / 2e7**0.34 + 410 / 2e8**0.28, rel=1e-3)


def test_nothing_is_extrapolated_in_silence():
    n, d, _ = runs()
    law = PowerLaw.fit({"n": n, "d": d}, n**-0.5)
    with pytest.raises(ConfigError, match=r"outside the range of the fit: n 1e\+10"):
        law.predict(n=1e10, d=1e8)
    told = law.predict(n=1e10, d=1e8, extrapolate=True)
    assert told.value == pytest.approx(1e-5, rel=1e-3) and "n 1e+10" in told.caution
    loss = LossLaw.fit(n, d, 2 + n**-0.3 + d**-0.3)
    with pytest.raises(ConfigError, match="tokens"):
        loss.predict(1e7, 1e12)


def test_runs_that_determine_nothing_are_refused():
    n, d, _ = runs()
    with pytest.raises(ConfigError, match="must vary on its own"):
        PowerLaw.fit({"n": n, "d": 20 * n}, n)
    with pytest.raises(ConfigError, match="3 runs do not determine"):
        PowerLaw.fit({"n": n[:3], "d": d[:3]}, n[:3])
    with pytest.raises(ConfigError, match="three sizes"):
        LossLaw.fit([1e6] * 9, d[:9], d[:9])
