"""Which steps are computed together, and when."""
