"""What is compiled: functions over the arrays of a part, and the constants that they are compiled with."""
