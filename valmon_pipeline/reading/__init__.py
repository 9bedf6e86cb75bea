"""The questions of one epoch, and of one look at the head, put to a beacon node."""
