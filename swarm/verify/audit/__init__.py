"""Whether a peer's work is what it announced: chosen by chance, computed again, compared."""
