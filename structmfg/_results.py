"""The ways in which a solve on the host can end. Linear solves, which are traced, have `linear.LINEAR_RESULTS`."""

import enum


class RESULTS(enum.Enum):
    """How a solve ended; the value is the whole message, and `stats` holds the numbers."""

    converged = (
        "The exploitability of the policy, the residual of the equilibrium or the distance from the mode is at most "
        "the tolerance."
    )

    # `solve`: policies.
    completed = "All planned updates were made."
    not_converged = (
        "All planned updates were made, but the exploitability is above the tolerance, or the excess is above "
        "until_excess; see stats."
    )
    within_excess = "The excess that was measured is at most until_excess: an agent without foresight gains no more."
    time_limit = "The time limit was reached before all planned updates were made; the policy is the one reached."
    interrupted = "The solve was interrupted; the policy is the one reached."
    invalid = "Under the policy reached the game is not one, so nothing is certified; see stats['failure']."
    uncertified = (
        "No change at a single information set gains more than the tolerance, but an agent's own past says something "
        "about the noise, so nothing certifies that no other policy does."
    )

    # `stationary_equilibrium` and `forecasting_equilibrium`: economies.
    residual = "The market clears, but of the policy or the mean field only the residual is known, not the error."
    market = "The market did not clear within the tolerance; the value nearest to it is the one reached."
    policy = "The policy of the households did not converge."
    distribution = "The stationary mean field was not found to the tolerance, or is not unique."
    truncated = "Households reach the end of a grid: assets (max_assets) or capital (capital_range) must reach further."

    # Sequence space.
    horizon = "The horizon must be longer: the path has not returned, or bounded paths cannot be counted; see stats."
    indeterminate = (
        "After a shock there is no bounded path, or several, or the equations do not determine it; see stats."
    )

    # `master_equation`.
    solved = "Every stage is an equilibrium, and the values change by no more than the tolerance."
    stage = "At some grid points no equilibrium of the stage was found: the values there are not a solution."

    # `posterior_mode`.
    no_maximum = (
        "The search came to rest where there is no strict maximum: a parameter is not identified, or the search ran "
        "into a bound."
    )

    # Several of them.
    max_steps = "The step limit was reached before the tolerance; the value is the one reached."
    nonfinite = "A number was not finite; `solve` returns the last good policy."

    @property
    def succeeded(self) -> bool:
        """Whether what is returned may be used as what the solver was asked for."""
        return self.name in ("converged", "completed", "within_excess", "time_limit", "interrupted", "solved")


# Names of those that `solve` returns, and so of all that a run folder may hold.
SOLVE_RESULTS = (
    "completed", "converged", "not_converged", "within_excess", "time_limit", "interrupted", "nonfinite", "invalid",
    "uncertified",
)  # fmt: skip
