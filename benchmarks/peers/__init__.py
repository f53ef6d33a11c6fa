"""Our training beside those of peers, for the same minutes on the same machine."""
