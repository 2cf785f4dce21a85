//! What a request is refused with, in the words of the API server.

use serde_json::{Value, json};

use super::kinds::Key;

/// A `Status` that is no success.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    reason: &'static str,
    message: String,
    details: Value,
}

impl Refusal {
    pub(super) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    fn of(key: &Key, code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        let details = json!({ "name": key.name, "group": key.kind.group, "kind": key.kind.plural });
        Self { details, ..Self::new(code, reason, message) }
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub(super) fn no_such_verb() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    pub(super) fn unsupported(kind: &str) -> Self {
        Self::new(415, "UnsupportedMediaType", format!("the body of the request was in an unknown format: {kind}"))
    }

    pub(super) fn bad_request(message: &str) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(super) fn not_found(key: &Key) -> Self {
        Self::of(key, 404, "NotFound", format!("{} \"{}\" not found", key.kind.full_name(), key.name))
    }

    pub(super) fn exists(key: &Key) -> Self {
        let message = format!("{} \"{}\" already exists", key.kind.full_name(), key.name);
        Self::of(key, 409, "AlreadyExists", message)
    }

    pub(super) fn conflict(key: &Key, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{}\": {why}", key.kind.full_name(), key.name);
        Self::of(key, 409, "Conflict", message)
    }

    pub(super) fn outdated(key: &Key) -> Self {
        const WORDS: &str =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(key, WORDS)
    }

    pub(super) fn invalid(key: &Key, why: &str) -> Self {
        let message = format!("{}.{} \"{}\" is invalid: {why}", key.kind.kind, key.kind.group, key.name);
        Self::of(key, 422, "Invalid", message.replacen(". \"", " \"", 1))
    }

    pub(super) fn forbidden(key: &Key, why: &str) -> Self {
        let message = format!("{} \"{}\" is forbidden: {why}", key.kind.full_name(), key.name);
        Self::of(key, 403, "Forbidden", message)
    }

    pub(super) fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    /// Of a server in trouble: what a test asked for.
    pub(super) fn trouble(code: u16) -> Self {
        let reason = match code {
            403 => "Forbidden",
            409 => "Conflict",
            410 => "Expired",
            429 => "TooManyRequests",
            500 => "InternalError",
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "",
        };
        Self::new(code, reason, "injected")
    }

    pub(super) fn body(&self) -> Value {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            body["reason"] = self.reason.into();
        }
        if !self.details.is_null() {
            body["details"] = self.details.clone();
        }
        body
    }
}
