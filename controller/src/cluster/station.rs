//! What the controller shows of itself: `/metrics`, `/healthz`, `/readyz`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use api::pipeline::Pipeline;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use kube::runtime::reflector::Store;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::leader::Leads;
use super::{Error, SharedClock};
use crate::metrics;

/// Reasons of turns that failed.
const ERRORS: [&str; 4] = ["api", "conflict", "foreign", "worker"];

/// Shared by the loop and the server.
#[derive(Clone)]
pub(super) struct Station {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    duration: Histogram,
    errors: IntCounterVec,
    last_success: Gauge,
    in_progress: IntGauge,
    leader: IntGauge,
    leads: watch::Receiver<Leads>,
    clock: SharedClock,
    /// Caches that are not filled yet.
    unfilled: AtomicUsize,
    /// One for each watched namespace, or one for all.
    pipelines: Mutex<Vec<Store<Pipeline>>>,
}

impl Station {
    /// `caches`: how many have to be filled before it is ready.
    ///
    /// # Errors
    /// A mistake in this module.
    pub(super) fn new(
        caches: usize,
        leads: watch::Receiver<Leads>,
        clock: SharedClock,
    ) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let version = Opts::new("onceward_build_info", "1; the version that runs");
        let version = IntGaugeVec::new(version, &["version"])?;
        version.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let duration = Histogram::with_opts(
            HistogramOpts::new("onceward_reconcile_duration_seconds", "one reconcile")
                .buckets(prometheus::exponential_buckets(0.001, 4.0, 8)?),
        )?;
        let errors = Opts::new(
            "onceward_reconcile_errors_total",
            "reconciles that failed, and are taken again: `api` (the API server refused or did not answer), `conflict` (changed meanwhile: no fault), `foreign` (an object of that name is not ours), `worker` (it refused a request)",
        );
        let errors = IntCounterVec::new(errors, &["reason"])?;
        for reason in ERRORS {
            errors.with_label_values(&[reason]).inc_by(0);
        }
        let last_success =
            Gauge::new("onceward_reconcile_last_success_timestamp_seconds", "when one succeeded last; 0: none yet")?;
        let in_progress = IntGauge::new("onceward_reconciles_in_progress", "reconciles under way")?;
        let leader = IntGauge::new("onceward_leader", "1 while this controller is the active one")?;
        registry.register(Box::new(version))?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(errors.clone()))?;
        registry.register(Box::new(last_success.clone()))?;
        registry.register(Box::new(in_progress.clone()))?;
        registry.register(Box::new(leader.clone()))?;
        let (unfilled, pipelines) = (AtomicUsize::new(caches), Mutex::default());
        let inner =
            Inner { registry, duration, errors, last_success, in_progress, leader, leads, clock, unfilled, pipelines };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) fn leads(&self) -> bool {
        self.inner.leads.borrow().is_some()
    }

    /// Whether the lease has not run out this very moment either.
    pub(super) fn still_leads(&self) -> bool {
        let until_ms = *self.inner.leads.borrow();
        until_ms.is_some_and(|until_ms| self.inner.clock.now_ms() < until_ms)
    }

    /// Follows the lease.
    pub(super) fn leadership(&self) -> watch::Receiver<Leads> {
        self.inner.leads.clone()
    }

    /// Shown as long as this controller leads.
    pub(super) fn shows(&self, pipelines: Store<Pipeline>) {
        self.inner.pipelines.lock().unwrap_or_else(PoisonError::into_inner).push(pipelines);
    }

    pub(super) fn is_filled(&self) {
        self.inner.unfilled.fetch_sub(1, Ordering::Relaxed);
    }

    /// Measures one turn.
    pub(super) async fn measured<T>(&self, turn: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let inner = &self.inner;
        inner.in_progress.inc();
        let timer = inner.duration.start_timer();
        let ended = turn.await;
        timer.observe_duration();
        inner.in_progress.dec();
        match &ended {
            Ok(_) => inner.last_success.set(inner.clock.now_ms() as f64 / 1_000.0),
            Err(error) => {
                if let Some(reason) = error.reason() {
                    inner.errors.with_label_values(&[reason]).inc();
                }
            }
        }
        ended
    }

    fn text(&self) -> Result<String, prometheus::Error> {
        let leads = self.leads();
        self.inner.leader.set(i64::from(leads));
        let mut text = TextEncoder::new().encode_to_string(&self.inner.registry.gather())?;
        if leads {
            let stores = self.inner.pipelines.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let pipelines: Vec<_> = stores.iter().flat_map(Store::state).collect();
            text += &metrics::text(&pipelines);
        }
        Ok(text)
    }

    /// Serves; never returns unless it cannot any more.
    pub(super) async fn serve(self, listener: TcpListener) {
        if let Err(error) = axum::serve(listener, router(self)).await {
            tracing::error!(%error, "metrics and health are no longer served");
        }
    }
}

/// The address is ours from here on.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Serve { address, source })
}

fn router(station: Station) -> Router {
    let shown = station.clone();
    Router::new()
        .route("/metrics", get(move || std::future::ready(metrics_of(&shown))))
        .route("/healthz", get(|| std::future::ready("ok\n")))
        .route(
            "/readyz",
            get(move || {
                std::future::ready(match station.inner.unfilled.load(Ordering::Relaxed) {
                    0 => (StatusCode::OK, "ok\n"),
                    _ => (StatusCode::SERVICE_UNAVAILABLE, "caches are being filled\n"),
                })
            }),
        )
}

fn metrics_of(station: &Station) -> Response {
    match station.text() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
