use super::Outcome;
use crate::{context::Context, store::Promotion};
#[allow(missing_docs)]
pub async fn document(_: &Context, p: &Promotion) -> Outcome<serde_json::Value> {
    Ok(serde_json::json!({"id": p.id, "state": p.state, "environment": p.environment}))
}
