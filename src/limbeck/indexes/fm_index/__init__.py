"""The identifier index: any run of tokens of the corpus, what may follow it, and where it occurs."""
