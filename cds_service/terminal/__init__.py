"""What the command line prints and asks: output, the demonstration, a new rule. No HTTP, no decisions."""
