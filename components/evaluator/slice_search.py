"""Searches all slices, and all crosses of two, for those on which a model does worse.

A slice is compared with the rest of the split: its recall on the positives and its false positive
rate on the negatives. A cross of two is also compared with the other images of each of its two
parts, so that it is found only if it is worse than both parts explain; otherwise every cross with a
bad slice would be found as well. Precision is not compared: it depends on the share of positives
in a slice, not only on the model.

The test is Fisher's exact test, one-sided: conditional on the number of wrong images, it is valid
for slices of any size. A cross has the largest p-value of its comparisons (an intersection-union
test). The false discovery rate over all slices that are looked at is controlled by the procedure of
Benjamini and Hochberg, which holds if the tests are independent or positively dependent;
`python -m benchmarks.slice_search` measures it for overlapping slices. Slices are ranked by a lower
bound on how much worse they are, the end of Newcombe's interval of a difference of proportions. Its
level is corrected for the choice of the worst, so that at most 5 % of the intervals listed are
expected to miss their difference (false coverage rate).

Sources: R. A. Fisher, The Logic of Inductive Inference, JRSS 98 (1935); R. L. Berger,
Multiparameter Hypothesis Testing and Acceptance Sampling, Technometrics 24 (1982), for
intersection-union tests; R. E. Tarone, A Modified Bonferroni Method for Discrete Data, Biometrics
46 (1990), for leaving out tests that can't find anything; Y. Benjamini, Y. Hochberg, Controlling
the False Discovery Rate, JRSS B 57 (1995); Y. Benjamini, D. Yekutieli, False Discovery
Rate-Adjusted Multiple Confidence Intervals for Selected Parameters, JASA 100 (2005); R. G.
Newcombe, Interval Estimation for the Difference Between Independent Proportions, Statistics in
Medicine 17 (1998), method 10; Y. Chung et al., Slice Finder, ICDE 2019, for the search.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

FALSE_DISCOVERY_RATE = 0.05
"""Highest expected share of wrong findings among the slices that are found."""
MIN_IMAGES = 5
"""Images of a class that a slice, and what it is compared with, must have to be looked at."""

_LISTED = 10
_MOST_LISTED = 100
_NEGLIGIBLE = 1e-13
_METRICS = "recall", "false_positive_rate"

Slice = tuple[tuple[str, str], ...]
"""Pairs of column and value: one for a slice of one column, two for a cross."""

Values: TypeAlias = NDArray | pd.Series
"""The values of a column; a series may be of categories, whose order is that of the text."""


@dataclass(frozen=True)
class Finding:
    """A slice compared with the rest of the split.

    Attributes:
      slice: the slice.
      metric: `recall`, of positives, or `false_positive_rate`, of negatives.
      images: images of the slice that the metric is computed on.
      wrong: those of them that the model got wrong.
      value: the metric on the slice.
      rest: the metric on the rest of the split.
      difference: value - rest, below 0 for a worse recall and above 0 for a worse rate.
      interval: of the difference, corrected for the choice of the slices that are listed.
      worse_by: lower bound on how much worse the slice is than the rest, and a cross than the
        others of its parts; the slices are ranked by it. Below 0: it may be no worse.
      p: one-sided p-value.
      q: p-value adjusted for all slices that were looked at.
      found: whether q is at most the false discovery rate.
    """

    slice: Slice
    metric: str
    images: int
    wrong: int
    value: float
    rest: float
    difference: float
    interval: tuple[float, float]
    worse_by: float
    p: float
    q: float
    found: bool


@dataclass(frozen=True)
class Search:
    """The result of a search.

    Attributes:
      looked_at: number of comparisons: slices by class.
      found: number of slices that are worse, at the false discovery rate.
      worst: the slices found, the worst first, and others up to 10; at most 100.
    """

    looked_at: int
    found: int
    worst: list[Finding]


class _Candidates(NamedTuple):
    """Slices of the images of one class, with counts of images and of wrong ones among them.

    Attributes:
      slices: the k slices.
      own: counts of each slice, int64 (k, 2).
      others: counts of what each is compared with, int64 (k, 3, 2): the rest of the split, and the
        others of both parts of a cross; for a slice of one column the rest three times.
    """

    slices: list[Slice]
    own: NDArray[np.int64]
    others: NDArray[np.int64]


class _Column(NamedTuple):
    """A column: its name, its sorted values, and of each image the index (n,) of its value."""

    name: str
    values: list[str]
    codes: NDArray[np.unsignedinteger]


class _Part(NamedTuple):
    """A column of one class of images, with counts of images and wrong ones by value, (v, 2)."""

    column: _Column
    counts: NDArray[np.int64]


def search(labels: ArrayLike, called_positive: ArrayLike, columns: Mapping[str, Values]) -> Search:
    """Searches the slices of all columns, and the crosses of two columns, for the worst.

    The order of images and columns does not matter.

    Args:
      labels: (n,), 1 for the positive class and 0 for all others.
      called_positive: bool (n,), the predictions.
      columns: text (n,) by name of the column.
    """
    truth, called = np.asarray(labels, bool), np.asarray(called_positive, bool)
    coded = [_coded(name, columns[name]) for name in sorted(columns)]
    sides = [
        _candidates(
            [column._replace(codes=column.codes[members]) for column in coded],
            (called != truth)[members],
        )
        for members in (truth, ~truth)
    ]
    return _ranked(*sides)


def _coded(name: str, values: Values) -> _Column:
    codes, found = pd.factorize(values, sort=True, use_na_sentinel=False)
    # Narrow: a byte per image for most columns, of which there may be millions of images.
    narrow = codes.astype(np.min_scalar_type(len(found)))
    return _Column(name, [str(value) for value in found], narrow)


def _candidates(columns: Sequence[_Column], wrong: NDArray[np.bool_]) -> _Candidates:
    """Returns the slices that are looked at."""
    parts = [_Part(column, _counted(column.codes, wrong, len(column.values))) for column in columns]
    total = np.array([wrong.size, np.count_nonzero(wrong)])
    found = [_of_column(part, total) for part in parts]
    found += [_of_cross(*pair, wrong, total) for pair in itertools.combinations(parts, 2)]
    return _Candidates(
        [slices for each in found for slices in each.slices],
        np.concatenate([np.empty((0, 2), np.int64), *(each.own for each in found)]),
        np.concatenate([np.empty((0, 3, 2), np.int64), *(each.others for each in found)]),
    )


def _counted(
    codes: NDArray[np.integer], wrong: NDArray[np.bool_], values: int
) -> NDArray[np.int64]:
    """Counts images and wrong images by code, (values, 2)."""
    return np.stack(
        [np.bincount(codes, minlength=values), np.bincount(codes[wrong], minlength=values)], axis=-1
    )


def _of_column(part: _Part, total: NDArray[np.int64]) -> _Candidates:
    name, values, _ = part.column
    others = np.repeat((total - part.counts)[:, None], 3, axis=1)
    chosen = np.flatnonzero(_can_be_found(part.counts, others))
    slices: list[Slice] = [((name, values[code]),) for code in chosen.tolist()]
    return _Candidates(slices, part.counts[chosen], others[chosen])


def _of_cross(
    first: _Part, second: _Part, wrong: NDArray[np.bool_], total: NDArray[np.int64]
) -> _Candidates:
    (name, values, codes), (other_name, other_values, other_codes) = first.column, second.column
    width = len(other_values)
    cells = codes.astype(np.intp) * width + other_codes
    every = _counted(cells, wrong, len(values) * width)
    filled = np.flatnonzero(every[:, 0] >= MIN_IMAGES)
    row, column = np.divmod(filled, max(1, width))
    own = every[filled]
    of_parts = first.counts[row] - own, second.counts[column] - own
    others = np.stack([total - own, *of_parts], axis=1)
    chosen = np.flatnonzero(_can_be_found(own, others))
    slices: list[Slice] = [
        ((name, values[row[index]]), (other_name, other_values[column[index]]))
        for index in chosen.tolist()
    ]
    return _Candidates(slices, own[chosen], others[chosen])


def _can_be_found(own: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns whether a slice has enough images to be found if all of its images were wrong.

    Depends on the numbers of images and on the total of wrong ones only, not on which are wrong. A
    cross without others of a part is that part, so it is not looked at either.
    """
    enough = (own[:, 0] >= MIN_IMAGES) & (others[..., 0] >= MIN_IMAGES).all(axis=1)
    whole = own + others[:, 0]
    worst = np.minimum(own[:, 0], whole[:, 1])
    lowest = _p_values(worst, own[:, 0], whole[:, 1], whole[:, 0])
    return enough & (lowest <= FALSE_DISCOVERY_RATE)


def _p_values(
    wrong: NDArray[np.int64],
    drawn: NDArray[np.int64],
    bad: NDArray[np.int64],
    whole: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Returns P(X >= wrong) for the hypergeometric number X of bad ones among those drawn.

    Args:
      wrong: (k,), possible values of X.
      drawn: images drawn from the whole, without replacement.
      bad: images of the whole that are bad.
      whole: images of the whole.
    """
    term = np.exp(
        _log_choose(bad, wrong)
        + _log_choose(whole - bad, drawn - wrong)
        - _log_choose(whole, drawn)
    )
    total, step = term.copy(), wrong.astype(np.float64)
    # Beyond the mean, where the search needs it, each term is smaller than the one before.
    while (term > _NEGLIGIBLE * total).any():
        term *= (drawn - step) * (bad - step) / ((step + 1) * (whole - bad - drawn + step + 1))
        total += term
        step += 1
    return np.minimum(total, 1.0)


def _ranked(recall: _Candidates, false_positive_rate: _Candidates) -> Search:
    sides = recall, false_positive_rate
    own = np.concatenate([side.own for side in sides])
    others = np.concatenate([side.others for side in sides])
    if not len(own):
        return Search(looked_at=0, found=0, worst=[])
    p = _p_of_slices(own, others)
    q = _adjusted(p)
    found = q <= FALSE_DISCOVERY_RATE
    listed = min(len(p), max(_LISTED, min(int(found.sum()), _MOST_LISTED)))
    low, high = _interval(own[:, None], others, listed / len(p))
    worse_by = low.min(axis=1)
    # Of equal slices, the first by name comes first.
    order = np.lexsort((np.arange(len(p)), -worse_by, ~found))[:listed]
    named = [
        (metric, found_slice)
        for metric, side in zip(_METRICS, sides, strict=True)
        for found_slice in side.slices
    ]
    worst = [
        _finding(
            named[index],
            own[index],
            others[index, 0],
            ends=(low[index, 0], high[index, 0]),
            worse_by=float(worse_by[index]),
            p=float(p[index]),
            q=float(q[index]),
        )
        for index in order.tolist()
    ]
    return Search(looked_at=len(p), found=int(found.sum()), worst=worst)


def _finding(
    named: tuple[str, Slice],
    own: NDArray[np.int64],
    rest: NDArray[np.int64],
    *,
    ends: tuple[float, float],
    worse_by: float,
    p: float,
    q: float,
) -> Finding:
    metric, found_slice = named
    images, wrong = own.tolist()
    is_recall = metric == _METRICS[0]
    # Recall is the share of images that are not wrong.
    value, rest_value = (float(abs(is_recall - counts[1] / counts[0])) for counts in (own, rest))
    low, high = (-ends[1], -ends[0]) if is_recall else ends
    return Finding(
        slice=found_slice,
        metric=metric,
        images=images,
        wrong=wrong,
        value=value,
        rest=rest_value,
        difference=value - rest_value,
        interval=(float(low), float(high)),
        worse_by=worse_by,
        p=p,
        q=q,
        found=q <= FALSE_DISCOVERY_RATE,
    )


def _p_of_slices(own: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the largest p-value of each slice's comparisons; 1 if it is not worse in one."""
    images, wrong = own[:, 0], own[:, 1]
    worse = (wrong[:, None] * others[..., 0] > others[..., 1] * images[:, None]).all(axis=1)
    p = np.ones(len(own))
    chosen = own[worse][:, None]
    whole = chosen + others[worse]
    drawn, drawn_wrong = np.broadcast_arrays(chosen[..., 0], whole[..., 0])[0], chosen[..., 1]
    drawn_wrong = np.broadcast_to(drawn_wrong, drawn.shape)
    p[worse] = _p_values(drawn_wrong, drawn, whole[..., 1], whole[..., 0]).max(axis=1)
    return p


def _adjusted(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjusts p-values for the false discovery rate, by Benjamini and Hochberg."""
    # Imported here, since the import takes a third of a second that not every step needs.
    from scipy.stats import false_discovery_control

    return false_discovery_control(p, method="bh")


def _interval(
    own: NDArray[np.int64], others: NDArray[np.int64], share: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns Newcombe's interval of the difference of the shares of wrong images, (k, 3) each.

    Args:
      own: counts, (k, 1, 2).
      others: counts, (k, 3, 2).
      share: share of all intervals that is listed, which corrects the level.
    """
    z = float(special.ndtri(1 - FALSE_DISCOVERY_RATE * share / 2))
    rate, low, high = _wilson(own, z)
    other, other_low, other_high = _wilson(others, z)
    return (
        rate - other - np.hypot(rate - low, other_high - other),
        rate - other + np.hypot(high - rate, other - other_low),
    )


def _wilson(counts: NDArray[np.int64], z: float) -> NDArray[np.float64]:
    """Returns the share of wrong images and the ends of Wilson's score interval, stacked."""
    images, wrong = counts[..., 0], counts[..., 1]
    share, middle = wrong / images, (wrong + z * z / 2) / (images + z * z)
    half = z / (images + z * z) * np.sqrt(wrong * (images - wrong) / images + z * z / 4)
    return np.stack([share, middle - half, middle + half])


def _log_choose(whole: NDArray[np.int64], part: NDArray[np.int64]) -> NDArray[np.float64]:
    return (
        special.gammaln(whole + 1) - special.gammaln(part + 1) - special.gammaln(whole - part + 1)
    )
