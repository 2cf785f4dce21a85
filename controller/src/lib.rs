//! Turns `Pipeline`s into worker pods and reports on them. One turn: observe -> decide -> report -> apply; only the
//! first and the last two touch the API server, and each step of theirs is one request.
//!
//! | room | holds |
//! |---|---|
//! | [`observe`] | what one decision is made from: the Pipeline, its pods, what their workers say |
//! | [`decide`] | the pure heart: observation in, steps and status out |
//! | [`build`] | objects from a manifest: pod, configuration; the user's pod template merged in |
//! | [`status`] | conditions, phase, and when they are worth a write |
//! | [`cluster`] | requests to the API server and to workers, and the loop |
//! | [`events`] | what has happened between two statuses, for people |
//! | [`flapping`] | of commits that pend by turns, what is told |
//! | [`metrics`] | statuses as Prometheus reads them |
//! | [`requests`] | what people ask for by annotation |
//! | [`names`] | labels, names and hashes |
//! | [`versions`] | what is said where worker and controller are of different versions |
//!
//! Nothing here is needed for safety: two controllers, stale caches and lost writes cost at most a pod that the log fences.
pub mod build;
pub mod cluster;
pub mod decide;
pub mod events;
pub mod flapping;
pub mod metrics;
pub mod names;
pub mod observe;
pub mod requests;
pub mod status;
pub mod versions;
