//! What brings records in: generators and producers
