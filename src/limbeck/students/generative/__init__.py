"""The generative student of DGR: it answers a query with identifiers, strings that the corpus contains."""
