//! A real API server with its etcd, built from the pinned module in `e2e/stage/kubernetes`.
//!
//! Needs Go; the binary is built once into the cache (`${XDG_CACHE_HOME:-$HOME/.cache}/onceward/kubernetes`). There are
//! no nodes and no controllers: nothing is garbage-collected, and no pod runs.

mod apiserver;
mod audit;
mod build;
mod call;
mod certificates;
mod component;
mod etcd;

pub use self::apiserver::Apiserver;
pub(crate) use self::apiserver::client_of;
pub use self::audit::Audited;
pub use self::build::binary;
pub use self::call::{Answer, Body, call, table};
pub use self::etcd::Etcd;
