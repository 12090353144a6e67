"""The gateway before TensorFlow Serving: it reads images just as training did, and guards."""
