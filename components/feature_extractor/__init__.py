"""FeatureExtractor: each image goes through a frozen backbone once, ever.

In: Examples. Out: the same splits, with the backbone's features in the images' place.
"""
