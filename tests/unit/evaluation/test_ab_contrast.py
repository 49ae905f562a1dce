"""Tests and intervals of two groups agree with SciPy and statsmodels; what they lack is held by its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.special import betaln
from statsmodels.stats import proportion, weightstats
from statsmodels.stats.multitest import multipletests

from recsmith.evaluation.experiments.bayes import beta_belief, normal_belief
from recsmith.evaluation.experiments.contrast import (
    Arm,
    Contrast,
    cuped_theta,
    proportions_interval,
    proportions_p,
)
from recsmith.evaluation.significance import benjamini_hochberg, holm


def arms(seed=0, n=(300, 420)):
    """Two groups with clicks out of slots, and both from before, which go together."""
    rng = np.random.default_rng(seed)
    groups = []
    for size, extra in zip(n, (0.0, 0.03), strict=True):
        taste = rng.beta(2, 8, size)
        slots, before = 1 + rng.poisson(6, size), 1 + rng.poisson(6, size)
        clicks, earlier = rng.binomial(slots, np.minimum(taste + extra, 1)), rng.binomial(before, taste)
        groups.append([column.astype(np.float64) for column in (clicks, slots, earlier, before)])
    return groups


def coin(successes, n):
    return Arm.of(np.repeat([1.0, 0.0], [successes, n - successes]))


def test_welch_is_that_of_scipy_and_statsmodels():
    (a, *_), (b, *_) = arms()
    contrast = Contrast.of(Arm.of(a), Arm.of(b))
    theirs = stats.ttest_ind(b, a, equal_var=False)
    assert contrast.p() == pytest.approx(theirs.pvalue, rel=1e-12)
    assert contrast.degrees == pytest.approx(theirs.df, rel=1e-12)
    means = weightstats.CompareMeans(weightstats.DescrStatsW(b), weightstats.DescrStatsW(a))
    np.testing.assert_allclose(
        contrast.interval(contrast.quantile(0.1)),
        means.tconfint_diff(alpha=0.1, usevar="unequal"),
        rtol=1e-12,
    )


def test_a_ratio_has_the_variance_of_a_regression_clustered_by_user():
    """Every slot a row, clicks on treatment, errors clustered by user: the same but for n - 1."""
    groups = arms(1)
    contrast = Contrast.of(*(Arm.of(g[0], g[1]) for g in groups))
    click, treated, user = [], [], []
    for number, (clicks, slots, *_) in enumerate(groups):
        for row, (c, s) in enumerate(zip(clicks.astype(int), slots.astype(int), strict=True)):
            click += [1] * c + [0] * (s - c)
            treated += [number] * s
            user += [number * 10_000 + row] * s
    design = sm.add_constant(np.array(treated, dtype=float))
    fitted = sm.OLS(click, design).fit(
        cov_type="cluster", cov_kwds={"groups": np.array(user), "use_correction": False}
    )
    ours = [Arm.of(g[0], g[1]) for g in groups]
    without = sum(arm.variance * (arm.n - 1) / arm.n**2 for arm in ours)
    assert contrast.difference == pytest.approx(fitted.params[1], rel=1e-10)
    assert without == pytest.approx(fitted.cov_params()[1, 1], rel=1e-9)


def test_cuped_is_the_slope_of_a_regression():
    """The pooled factor and the adjusted difference are those of value ~ treatment + covariate."""
    (a, _, x, _), (b, _, w, _) = arms(2)
    pair = Arm.of(a, before=x), Arm.of(b, before=w)
    theta = cuped_theta(pair)
    treated = np.repeat([0.0, 1.0], [len(a), len(b)])
    design = sm.add_constant(np.column_stack([treated, np.concatenate([x, w])]))
    fitted = sm.OLS(np.concatenate([a, b]), design).fit()
    assert theta == pytest.approx(fitted.params[2], rel=1e-10)
    assert Contrast.of(*pair, theta).difference == pytest.approx(fitted.params[1], rel=1e-10)


@pytest.mark.parametrize("ratio", [False, True])
def test_cuped_is_an_analysis_of_adjusted_influences(ratio):
    """A metric whose users' influences were adjusted by hand has the same variance."""
    groups = arms(3)
    pair = [Arm.of(g[0], g[1], g[2], g[3]) if ratio else Arm.of(g[0], before=g[2]) for g in groups]
    theta = cuped_theta(pair)
    by_hand = 0.0
    for clicks, slots, before, places in groups:
        z, u = clicks - clicks.mean(), before - before.mean()
        if ratio:
            z = (clicks - clicks.sum() / slots.sum() * slots) / slots.mean()
            u = (before - before.sum() / places.sum() * places) / places.mean()
        by_hand += (z - theta * u).var(ddof=1) / len(z)
    adjusted, plain = Contrast.of(*pair, theta), Contrast.of(*pair)
    assert adjusted.variance == pytest.approx(by_hand, rel=1e-10)
    assert adjusted.variance < plain.variance


def test_a_covariate_that_does_not_vary_changes_nothing():
    (a, *_), (b, *_) = arms(4)
    pair = Arm.of(a, before=np.ones_like(a)), Arm.of(b, before=np.ones_like(b))
    assert cuped_theta(pair) == 0
    assert Contrast.of(*pair, cuped_theta(pair)).p() == Contrast.of(Arm.of(a), Arm.of(b)).p()


def test_proportions_are_those_of_statsmodels():
    control, treatment = coin(40, 400), coin(63, 450)
    _, p = proportion.proportions_ztest([40, 63], [400, 450])
    assert proportions_p(control, treatment) == pytest.approx(p, rel=1e-12)
    theirs = proportion.confint_proportions_2indep(63, 450, 40, 400, method="newcomb", compare="diff")
    np.testing.assert_allclose(proportions_interval(control, treatment, 0.05), theirs, rtol=1e-9)


def test_newcombe_by_his_own_table():
    """Newcombe 1998, table II, method 10, cases a and c: 56/70 against 48/80, and 9/10 against 3/10."""
    np.testing.assert_allclose(
        proportions_interval(coin(48, 80), coin(56, 70), 0.05), [0.0524, 0.3339], atol=5e-5
    )
    np.testing.assert_allclose(
        proportions_interval(coin(3, 10), coin(9, 10), 0.05), [0.1705, 0.8090], atol=5e-5
    )


def test_fieller_bounds_are_the_lifts_that_the_test_would_not_refuse():
    groups = arms(5)
    contrast = Contrast.of(*(Arm.of(g[0], g[1]) for g in groups))
    quantile = contrast.quantile(0.05)
    low, high = contrast.lift_interval(quantile)
    assert low < contrast.lift() < high
    for bound in (low, high):
        gap = contrast.difference - bound * contrast.baseline
        spread = contrast.variance - 2 * bound * contrast.covariance + bound**2 * contrast.baseline_variance
        assert abs(gap) / math.sqrt(spread) == pytest.approx(quantile, rel=1e-9)


def test_fieller_is_the_delta_method_for_many_users():
    rng = np.random.default_rng(6)
    control, treatment = (Arm.of(rng.gamma(2, 1, 200_000) * scale) for scale in (1.0, 1.02))
    contrast = Contrast.of(control, treatment)
    relative = treatment.value / control.value
    error = relative * math.sqrt(sum(arm.variance / arm.n / arm.value**2 for arm in (control, treatment)))
    wanted = relative - 1 + np.array([-1, 1]) * contrast.quantile(0.05) * error
    np.testing.assert_allclose(contrast.lift_interval(contrast.quantile(0.05)), wanted, atol=2e-5)


def test_lift_intervals_hold_the_lift():
    """1,500 experiments with skewed users, adjusted by a covariate: about 95 % do."""
    rng = np.random.default_rng(11)
    before = rng.gamma(2, 1, (2, 1500, 300))
    after = (before + rng.gamma(1, 1, before.shape)) * np.array([1.0, 1.2])[:, None, None]
    pair = [Arm.of(after[g], before=before[g]) for g in (0, 1)]
    contrast = Contrast.of(*pair, cuped_theta(pair))
    low, high = contrast.lift_interval(contrast.quantile(0.05))
    assert np.mean((low <= 0.2) & (high >= 0.2)) == pytest.approx(0.95, abs=0.015)


def test_fieller_has_no_end_where_the_control_may_be_nought():
    rng = np.random.default_rng(7)
    contrast = Contrast.of(Arm.of(rng.normal(0.1, 5, 50)), Arm.of(rng.normal(0.2, 5, 50)))
    assert np.isnan(contrast.lift_interval(2.0)).all()


def test_the_always_valid_p_is_one_over_a_mixture_of_likelihood_ratios():
    (a, *_), (b, *_) = arms(8)
    contrast = Contrast.of(Arm.of(a), Arm.of(b))
    tau = math.sqrt(contrast.mixture(500, 0.05) * contrast.variance)

    def weighed(effect):
        ratio = stats.norm.pdf(contrast.difference, effect, contrast.error)
        return ratio / stats.norm.pdf(contrast.difference, 0, contrast.error) * stats.norm.pdf(effect, 0, tau)

    mixed, _ = integrate.quad(weighed, -10 * tau, 10 * tau)
    assert contrast.mixture_p(500, 0.05) == pytest.approx(min(1, 1 / mixed), rel=1e-6)


@given(
    st.floats(-0.5, 0.5),
    st.floats(1e-4, 0.1),
    st.integers(10, 10**7),
    st.floats(10, 1e7),
    st.floats(1e-4, 0.3),
)
def test_always_valid_p_and_interval_are_one_test(difference, variance, users, planned, alpha):
    contrast = Contrast(difference, variance, users - 2, users, 1.0, variance / 2, -variance / 2)
    low, high = contrast.interval(contrast.quantile_of_mixture(planned, alpha))
    p = contrast.mixture_p(planned, alpha)
    assert 0 <= p <= 1
    if abs(p - alpha) > 1e-9:
        assert (p < alpha) == (not low <= 0 <= high)


def test_always_valid_intervals_are_narrowest_where_it_was_planned():
    planned = 20_000
    users = np.array([planned / 1.3, planned, planned * 1.3])
    contrast = Contrast(0.0, 1.0, users - 2, users, 1.0, 0.5, -0.5)
    before, at, after = contrast.quantile_of_mixture(planned, 0.05)
    assert at < before and at < after
    assert at > stats.norm.isf(0.025)


def test_looking_every_day_keeps_the_error_of_the_always_valid_test():
    """30 looks at 300 A/A experiments: Welch's t finds something in far too many, the other in few."""
    rng = np.random.default_rng(9)
    days, daily, trials = 30, 50, 300
    values = rng.exponential(1.0, size=(trials, 2, days * daily))
    looks = [Contrast.of(*(Arm.of(values[:, g, : (day + 1) * daily]) for g in (0, 1))) for day in range(days)]
    found = np.array([look.mixture_p(days * daily, 0.05) < 0.05 for look in looks]).any(axis=0)
    naive = np.array([look.p() < 0.05 for look in looks]).any(axis=0)
    assert found.mean() < 0.06
    assert naive.mean() > 0.15


def test_the_normal_belief_by_integration():
    contrast = Contrast(0.3, 0.04, 100, 102, 1.0, 0.02, -0.02)
    posterior = stats.norm(0.3, 0.2)
    loss, _ = integrate.quad(lambda d: -d * posterior.pdf(d), -3, 0)
    regret, _ = integrate.quad(lambda d: d * posterior.pdf(d), 0, 3)
    belief = normal_belief(contrast)
    np.testing.assert_allclose(belief, [posterior.sf(0), loss, regret], rtol=1e-8)
    assert belief.mirrored() == (1 - belief.better, belief.regret, belief.loss)


@pytest.mark.parametrize(
    ("ours", "theirs"), [((3, 40), (5, 38)), ((0, 10), (0, 12)), ((400, 9000), (470, 9100))]
)
def test_the_beta_belief_by_its_closed_form(ours, theirs):
    """E. Miller's sum over the treatment's successes."""
    a, b = 1 + ours[0], 1 + ours[1] - ours[0]
    c, d = 1 + theirs[0], 1 + theirs[1] - theirs[0]
    i = np.arange(c)
    better = np.exp(betaln(a + i, b + d) - np.log(d + i) - betaln(1 + i, d) - betaln(a, b)).sum()
    belief = beta_belief(coin(*ours), coin(*theirs))
    assert belief.better == pytest.approx(better, abs=1e-6)
    gain = c / (c + d) - a / (a + b)
    assert belief.regret - belief.loss == pytest.approx(gain, abs=1e-6)
    drawn = np.random.default_rng(0).beta([[a], [c]], [[b], [d]], size=(2, 200_000))
    assert belief.loss == pytest.approx(np.maximum(drawn[0] - drawn[1], 0).mean(), rel=0.03)


def test_beta_and_normal_beliefs_agree_for_many_users():
    control, treatment = coin(2000, 20_000), coin(2070, 20_000)
    exact, rough = beta_belief(control, treatment), normal_belief(Contrast.of(control, treatment))
    np.testing.assert_allclose(exact, rough, rtol=0.02)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_benjamini_hochberg_is_that_of_statsmodels_and_finds_no_less_than_holm(p):
    np.testing.assert_allclose(benjamini_hochberg(p), multipletests(p, method="fdr_bh")[1], atol=1e-12)
    assert all(b <= h + 1e-12 for b, h in zip(benjamini_hochberg(p), holm(p), strict=True))


def test_many_experiments_at_once_are_the_same_as_one_by_one():
    rng = np.random.default_rng(10)
    total, count, before = (rng.gamma(2, 1, (2, 5, 60)) for _ in range(3))
    together = [Arm.of(total[g], count[g], before[g]) for g in (0, 1)]
    contrast = Contrast.of(*together, cuped_theta(together))
    for row in range(5):
        alone = [Arm.of(total[g, row], count[g, row], before[g, row]) for g in (0, 1)]
        single = Contrast.of(*alone, cuped_theta(alone))
        assert contrast.p()[row] == pytest.approx(single.p(), rel=1e-12)
        np.testing.assert_allclose(
            [bound[row] for bound in contrast.lift_interval(2.0)], single.lift_interval(2.0), rtol=1e-10
        )
