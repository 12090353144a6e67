"""ImbalanceSampler: decides which images each split gets, and how many of each class.

How often training uses the images of its split, and with what weight, is decided in
`components.trainer.sampling`: a new way to draw splits belongs here, a new strategy for an
imbalanced train split belongs there.
"""
