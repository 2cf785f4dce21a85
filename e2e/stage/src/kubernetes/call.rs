//! One request and everything that was answered: the status, the warnings, the body.

use anyhow::{Context as _, Result};
use http::Request;
use kube::Client;
use serde_json::Value;

/// What is sent.
pub enum Body<'a> {
    None,
    /// `application/json`.
    Json(&'a Value),
    /// A patch: its content type, as `application/merge-patch+json`.
    Patch(&'a str, &'a Value),
    /// Bytes as they are, with their content type.
    Raw(&'a str, &'a [u8]),
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Texts of the headers `Warning`.
    pub warnings: Vec<String>,
    /// Null where it was no JSON.
    pub body: Value,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What a refusal says; empty for a success.
    pub fn message(&self) -> &str {
        let message = self.body.get("message").and_then(Value::as_str);
        message.filter(|_| !self.is_success()).unwrap_or_default()
    }

    /// Fields that a refusal names, as `spec.sinks[0].input`, each with what is wrong with it.
    pub fn causes(&self) -> Vec<(String, String)> {
        let causes = self.body.pointer("/details/causes").and_then(Value::as_array);
        let text = |cause: &Value, name: &str| cause.get(name).and_then(Value::as_str).map(str::to_owned);
        let pair = |cause: &Value| Some((text(cause, "field")?, text(cause, "message").unwrap_or_default()));
        causes.into_iter().flatten().filter_map(pair).collect()
    }
}

/// Sends one request; a refusal is an answer, too.
///
/// # Errors
/// Nobody answers.
pub async fn call(client: &Client, method: &str, path: &str, body: Body<'_>) -> Result<Answer> {
    let (kind, bytes) = match body {
        Body::None => ("application/json", Vec::new()),
        Body::Json(value) => ("application/json", serde_json::to_vec(value)?),
        Body::Patch(kind, value) => (kind, serde_json::to_vec(value)?),
        Body::Raw(kind, bytes) => (kind, bytes.to_vec()),
    };
    let request = Request::builder().method(method).uri(path).header("Content-Type", kind);
    sent(client, request.header("Accept", "application/json").body(bytes.into())?).await
}

/// What `kubectl get` asks for: rows and columns.
///
/// # Errors
/// Nobody answers.
pub async fn table(client: &Client, path: &str) -> Result<Answer> {
    let request = Request::builder().uri(path).header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    sent(client, request.body(kube::client::Body::empty())?).await
}

async fn sent(client: &Client, request: Request<kube::client::Body>) -> Result<Answer> {
    let what = format!("{} {}", request.method(), request.uri());
    let answer = client.send(request).await.context(what)?;
    let warnings = answer.headers().get_all("warning").iter().filter_map(|value| value.to_str().ok());
    let warnings = warnings.map(str::to_owned).collect();
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect_bytes().await?;
    Ok(Answer { status, warnings, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
}
