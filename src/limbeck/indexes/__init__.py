"""Indexes: what a student's passages become so that they can be searched. They know no student."""
