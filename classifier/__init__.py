"""Inference: image bytes in, labels out. Knows nothing of predictions, pages or queues."""
