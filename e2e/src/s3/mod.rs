//! A real S3 server on loopback (versitygw), and a proxy in front of it that loses, delays and repeats what it is told to.
//!
//! Needs Go; the server is built once into the cache (`${XDG_CACHE_HOME:-$HOME/.cache}/onceward/s3`).

pub mod bucket;
pub mod proxy;

pub use stage::s3 as gateway;

pub use self::bucket::Bucket;
pub use self::gateway::Gateway;
pub use self::proxy::{Fault, Proxy};
