"""The FineTuneJob contract: what a person writes, what the operator answers, and every word both images must spell alike."""
