//! A page that shows a run to people: its graph with rates, its checkpoints, commits, attempts and configuration. It is
//! made of files that are served as they are; what they show comes from `/graph`, `/history` and `/metrics`. Reading is all
//! that it can do.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::Value;

pub(crate) use history::History;
pub(crate) use overview::overview;

mod history;
mod overview;

/// What the page's files may load and do: each other, and nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = include_str!("assets/page.html");
const CSS: &str = include_str!("assets/page.css");
const JS: &str = include_str!("assets/page.js");

/// The page's routes. `overview` does not change during a run.
pub(crate) fn router(overview: Value, history: Arc<History>) -> Router {
    let overview = Arc::new(overview);
    Router::new()
        .route("/", get(|| std::future::ready(file("text/html; charset=utf-8", HTML))))
        .route("/page.css", get(|| std::future::ready(file("text/css; charset=utf-8", CSS))))
        .route("/page.js", get(|| std::future::ready(file("text/javascript; charset=utf-8", JS))))
        .route("/graph", get(move || std::future::ready(json(overview.as_ref()))))
        .route("/history", get(move || std::future::ready(json(&history.told()))))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the policy forbids would be missing in a browser, silently.
    #[test]
    fn the_page_has_no_script_style_or_address_of_its_own_but_its_files() {
        for forbidden in ["style=", "<style", "onclick=", "http://", "https://", "javascript:"] {
            assert!(!HTML.contains(forbidden), "{forbidden} is in the page");
        }
        assert_eq!(HTML.matches("<script").count(), 1);
        assert!(HTML.contains(r#"<script src="page.js" defer></script>"#) && HTML.contains(r#"href="page.css""#));
        for forbidden in ["innerHTML", "insertAdjacentHTML", "eval(", "http://", "https://", ".cssText"] {
            assert!(
                !JS.contains(forbidden) || forbidden.starts_with("http") && JS.contains("http://www.w3.org/2000/svg")
            );
        }
    }
}
