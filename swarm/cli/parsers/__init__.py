"""What each verb that is slow to import takes: its parser, which is there at once."""
