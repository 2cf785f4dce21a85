//! The server's audit log: who asked for what, and whether they might.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// One answered request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Audited {
    /// As `system:serviceaccount:namespace:name`.
    pub user: String,
    /// Of the token that was shown, as `JTI=UUID`; empty for certificates.
    pub credential: String,
    /// As RBAC has it: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Empty for the core.
    pub group: String,
    /// Empty for requests of no resource, as `/readyz`.
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub uri: String,
    /// When the server had read it, as RFC 3339 in microseconds: texts are in the order of times.
    pub received: String,
    /// HTTP's; 0 while none was sent.
    pub status: u64,
    /// As the authorizer decided.
    pub is_allowed: bool,
}

impl Audited {
    /// Whether it was to change something.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// Whole lines only: the last may be on its way.
pub(super) fn read(path: &Path) -> Result<Vec<Audited>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
    whole.lines().map(|line| Ok(audited(&serde_json::from_str(line)?))).collect()
}

fn audited(event: &Value) -> Audited {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    Audited {
        user: text("/user/username"),
        credential: text("/user/extra/authentication.kubernetes.io~1credential-id/0"),
        verb: text("/verb"),
        group: text("/objectRef/apiGroup"),
        resource: text("/objectRef/resource"),
        subresource: text("/objectRef/subresource"),
        namespace: text("/objectRef/namespace"),
        name: text("/objectRef/name"),
        uri: text("/requestURI"),
        received: text("/requestReceivedTimestamp"),
        status: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or(0),
        is_allowed: text("/annotations/authorization.k8s.io~1decision") == "allow",
    }
}
