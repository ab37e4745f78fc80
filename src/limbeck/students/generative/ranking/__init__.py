"""Learning to rank by the scores of passages: LTRGR and DGR, on top of a generator that can generate."""
