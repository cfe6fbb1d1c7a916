"""Who owns what: one interface over every kind of book, and the book that is embedded."""
