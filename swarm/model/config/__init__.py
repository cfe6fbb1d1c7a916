"""What a model's config says: its family, and the shapes that follow from it."""
