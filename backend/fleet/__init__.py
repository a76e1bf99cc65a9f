"""Which hosts there are, and what runs on them now."""
