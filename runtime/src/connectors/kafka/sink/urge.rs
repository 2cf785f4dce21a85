//! The one call into librdkafka that its binding does not offer: sending what waits for company, without waiting for the
//! acknowledgements (docs/decisions/0206).
#![allow(
    unsafe_code,
    reason = "a call of librdkafka's C interface, which the binding makes with a timeout of zero only"
)]

use std::ffi::c_int;
use std::time::Duration;

use rdkafka::bindings::rd_kafka_flush;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};

/// Blocks until all is acknowledged *and polled*, but no longer than `most`: meanwhile `linger.ms` counts as nothing.
pub(super) fn urge<C: ProducerContext>(producer: &BaseProducer<C>, most: Duration) {
    let most = c_int::try_from(most.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the pointer is that of a live producer, which the reference keeps alive over the call. The function may be
    // called from any thread, takes nothing else, and calls nothing back: the binding's producers have their reports as
    // events. What it answers says only whether all is done, which is asked elsewhere.
    let _ = unsafe { rd_kafka_flush(producer.client().native_ptr(), most) };
}
