//! stub
pub(super) const RAISE_LIMITS: &str = "";
/// x
pub enum Hint {}
/// x
pub struct Source {}
