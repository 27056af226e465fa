//! Adapts our clock to the AWS SDK: signatures carry the time.

use std::{fmt, time::SystemTime};

use aws_smithy_async::time::TimeSource;

use crate::clock::{SharedClock, system_time};

/// The time for signatures.
pub(crate) struct SdkTime(pub(crate) SharedClock);

impl TimeSource for SdkTime {
    fn now(&self) -> SystemTime {
        system_time(self.0.now().wall)
    }
}

impl fmt::Debug for SdkTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SdkTime")
    }
}
