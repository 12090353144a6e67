"""The sample data set: small drawn scenes with a cat or a dog."""
