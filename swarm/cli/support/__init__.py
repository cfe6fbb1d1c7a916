"""What the verbs have in common."""
