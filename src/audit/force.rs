//! The plan that an audit goes by, which a live one may be given anew.

use std::ops::Deref;
use std::sync::Arc;

use super::Plan;

/// A plan in force.
#[derive(Clone, Debug)]
pub enum InForce<'p> {
    /// The one the audit began with.
    First(&'p Plan),
    /// One that took its place.
    Later(Arc<Plan>),
}

impl InForce<'_> {
    pub(super) fn later(plan: Plan) -> InForce<'static> {
        InForce::Later(Arc::new(plan))
    }
}

impl Deref for InForce<'_> {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        match self {
            InForce::First(plan) => plan,
            InForce::Later(plan) => plan,
        }
    }
}
