//! Records to typed rows to partial states: the one function that both layers call
