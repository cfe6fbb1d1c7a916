"""From figures to a verdict: how far results of honest peers lie apart, and what lies beyond that."""
