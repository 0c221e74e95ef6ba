//! What buckets do beyond the contract.
