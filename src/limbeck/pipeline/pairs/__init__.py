"""The stages of pair tasks, from the sets of labelled pairs to the figures."""
