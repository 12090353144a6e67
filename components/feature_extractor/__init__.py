"""FeatureExtractor: computes the features of each image by a frozen backbone, only once.

Input: Examples. Output: the same splits, with the backbone's features instead of the images.
"""
