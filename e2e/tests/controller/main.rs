//! The shipped controller against a real API server, started as the chart starts it. Its workers are the shipped binary, too: a small kubelet starts a
//! process for each pod, tells the server what became of it, and can be told to kill it. Deaths behind single requests need a
//! server that can be told to lose them: there it is the one in process, with the same kubelet.

mod alerts;
mod deaths;
mod kubelet;
mod likeness;
mod lives;
mod release;
mod replicas;
mod site;
