"""What work costs, who pays for it, and the book that shows it: ledgers, channels, stake, prices."""
