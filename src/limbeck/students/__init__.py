"""Students: the fast retrievers that learn from a teacher's rankings."""
