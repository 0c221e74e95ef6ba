use super::{Outcome, Shell};
use crate::context::Context;
#[allow(missing_docs)]
pub async fn show(_: &Shell, _: &Context, _: &str) -> Outcome {
    Ok(())
}
