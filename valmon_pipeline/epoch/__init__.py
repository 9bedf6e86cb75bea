"""An epoch: from what a node answered about it to the frames of its tables. Pure."""
