"""The parts of `benchmarks/dense_student.py`, one file for each thing that is measured."""
