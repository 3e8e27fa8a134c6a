"""The training loop, its state, checkpoints, and the epochs that are kept."""
