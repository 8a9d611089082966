//! HyperLogLog: how many distinct values there are.
