"""The finished model and what is told of it: written as files, and brought to the store."""
