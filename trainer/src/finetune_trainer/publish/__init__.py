"""The finished model and its report, and when they count."""
