//! The batch layer: Silver, Gold, publication, reports, reconciliation, schedule
