"""P values of paired decisions, and their correction for several comparisons."""

from collections.abc import Sequence

import numpy as np
from scipy import special


def mcnemar(only_first: int, only_second: int) -> float:
    """Returns the two-sided mid-p value of McNemar's test.

    Source: M. Fagerland, S. Lydersen, P. Laake, The McNemar Test for Binary Matched-Pairs
    Data: Mid-p and Asymptotic Are Better Than Exact Conditional, BMC Medical Research
    Methodology 13 (2013).

    Args:
      only_first: number of images that only the first arm classifies correctly.
      only_second: number of images that only the second arm classifies correctly.
    """
    fewer, discordant = min(only_first, only_second), only_first + only_second
    if not discordant:
        return 1.0
    below = special.bdtr(fewer - 1, discordant, 0.5) if fewer else 0.0
    return float(min(1.0, special.bdtr(fewer, discordant, 0.5) + below))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p values with Holm's correction, which controls the family-wise error rate.

    Source: S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian
    Journal of Statistics 6 (1979).
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.maximum.accumulate(np.asarray(p_values, float)[order] * factors)
    return np.minimum(corrected, 1).tolist()
