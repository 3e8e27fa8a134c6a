"""What stands for the background: one file per mode."""
