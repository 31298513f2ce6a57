"""What a FineTuneJob's status should say next: pure functions of the job, what was observed, and the time."""
