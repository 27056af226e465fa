//! When an answer of AWS was given, by AWS's clock: its `Date`, which the SDK does not hand out. Matters where a call is not signed,
//! and so is accepted from a host whose clock is wrong.

use std::sync::{Arc, OnceLock};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeDeserializationInterceptorContextRef, dyn_dispatch_hint},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use jiff::Timestamp;

use super::super::ims::{dated, http_date};
use crate::credentials::Credentials;

/// Notes it for one call, of which it is an interceptor.
#[derive(Debug, Clone, Default)]
pub(crate) struct AnsweredAt(Arc<OnceLock<Timestamp>>);

impl AnsweredAt {
    /// The set of that answer, with its life by AWS's clock, if the answer has a date.
    pub(crate) fn dated(&self, set: Credentials) -> Credentials {
        dated(set, self.0.get().copied())
    }
}

#[dyn_dispatch_hint]
impl Intercept for AnsweredAt {
    fn name(&self) -> &'static str {
        "AnsweredAt"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(date) = date.and_then(|date| http_date(date.as_bytes())) {
            // A call has one answer, since the SDK repeats nothing for us.
            self.0.get_or_init(|| date);
        }
        Ok(())
    }
}
