//! Adapters behind the ports of common, and the suites that they pass
