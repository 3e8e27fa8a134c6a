"""What every other package may use: errors, files that are whole or absent, seeds, options, the frame of a script."""
