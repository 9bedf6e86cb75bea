"""Reports over any range of epochs: what they hold, and how they are written to files."""
