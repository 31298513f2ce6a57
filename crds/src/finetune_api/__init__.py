"""The FineTuneJob contract: what a person writes, what the operator answers, and the words both images spell alike."""
