"""Bagged heads, each trained on all images of the smaller side and as many of the larger.

One undersampled training leaves out most images of the larger side; several with different ones use
more of them. As in EasyEnsemble, the scores of the members are averaged before the threshold, and
not their votes: here the members are pooled heads, in place of boosted trees, and the mean of their
log odds is taken. It is the log odds of the linear head with their mean weights, so that the
ensemble is exported as one head, as small and as fast as a single one; a mean of probabilities
would require every head when the model serves.

Source: X. Liu, J. Wu, Z. Zhou, Exploratory Undersampling for Class-Imbalance Learning, IEEE
Transactions on Systems, Man, and Cybernetics, Part B 39 (2009), algorithm 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.trainer.history import Epoch
from components.trainer.methods import BALANCED
from components.trainer.settings import TrainerSettings


def member_settings(settings: TrainerSettings) -> TrainerSettings:
    """Returns the settings of each head: balanced, where the seed chooses the images."""
    return settings.model_copy(update={"bagging": None, "sampling_strategy": BALANCED})


def member_seeds(random_state: int, members: int) -> list[int]:
    """Returns the seeds of the heads of a training, unlike those of any other training."""
    return [int(seed) for seed in np.random.SeedSequence(random_state).generate_state(members)]


def averaged(members: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Returns the weights of the linear head whose log odds are the mean of the members'.

    Args:
      members: kernel (d, 1) and bias (1,) of each head.
    """
    return [np.stack(arrays).mean(axis=0) for arrays in zip(*members, strict=True)]


def solver(members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns how the heads were solved, empty if they were trained in epochs.

    Args:
      members: of each head, see `components.trainer.solved_head.SolvedHead`.

    Returns:
      as of one head, with `penalties` of all heads in place of `penalty`, without
      `cross_validation`, and with the iterations of all.
    """
    if not all(members):
        return {}
    return {
        "optimizer": members[0]["optimizer"],
        "iterations": sum(member["iterations"] for member in members),
        "converged": all(member["converged"] for member in members),
        "penalties": [member["penalty"] for member in members],
        "penalty_chosen": all(member["penalty_chosen"] for member in members),
    }


def mean_epochs(members: Sequence[Sequence[Epoch]]) -> list[Epoch]:
    """Returns the means over the heads of their metrics, by epoch; seconds are summed.

    Args:
      members: the epochs of each head, of which all have the same number.
    """
    return [_mean(epochs) for epochs in zip(*members, strict=True)]


def _mean(epochs: Sequence[Epoch]) -> Epoch:
    found = dict(epochs[0])
    for name, value in epochs[0].items():
        if isinstance(value, float):
            found[name] = float(np.mean([epoch[name] for epoch in epochs]))
        elif isinstance(value, int):
            found[name] = round(np.mean([epoch[name] for epoch in epochs]))
    found["seconds"] = round(sum(epoch["seconds"] for epoch in epochs), 3)
    return found
