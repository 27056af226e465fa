//! Adapts our clock to the AWS SDK: signatures carry the time.

use std::{fmt, time::SystemTime};

use aws_smithy_async::time::TimeSource;
use jiff::Timestamp;

use crate::clock::{SharedClock, until};

/// The time for signatures.
pub(crate) struct SdkTime(pub(crate) SharedClock);

impl TimeSource for SdkTime {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + until(self.0.now().wall, Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Debug for SdkTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SdkTime")
    }
}
