"""What of a training run outlives its processes."""
