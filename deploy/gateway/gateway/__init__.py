"""Gateway in front of TensorFlow Serving: reads images as training did and limits requests."""
