//! A worker's own words, through the API server: a port of its pod is forwarded, so that it hears from within the pod. That
//! is how it knows who may see its page.

use std::time::Duration;

use api::names::PORT;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::site::{Error, Site};

/// For a whole answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Far more than a worker shows.
const MOST_BYTES: u64 = 8 << 20;

/// A connection to the port of a pod's worker, and what holds it open.
pub(crate) struct Line {
    pub(crate) stream: DuplexStream,
    /// Ends with it.
    _forwarder: kube::api::Portforwarder,
}

/// Forwards the worker's port.
///
/// # Errors
/// Those of requests; the pod's own come when something is read.
pub(crate) async fn line(site: &Site<'_>, pod: &str) -> Result<Line, Error> {
    let what = format!("forward port {PORT} of pod `{pod}` (it takes the right to create pods/portforward)");
    let mut forwarder = site.answer(&what, site.pods().portforward(pod, &[PORT])).await?;
    match forwarder.take_stream(PORT) {
        Some(stream) => Ok(Line { stream, _forwarder: forwarder }),
        None => Err(Error::NotDone(format!("cannot {what}: there is no stream"))),
    }
}

/// The body of one of the worker's pages, such as `/history`.
///
/// # Errors
/// [`Error::NotDone`] where the worker does not show it, and those of requests.
pub(crate) async fn page(site: &Site<'_>, pod: &Pod, path: &str) -> Result<Vec<u8>, Error> {
    let name = pod.name_any();
    let failed = |why: String| Error::NotDone(format!("pod `{name}` does not show {path}: {why}"));
    let asked = tokio::time::timeout(PATIENCE, async {
        let mut line = line(site, &name).await?;
        // Of version 1.0: the answer ends with the connection, and comes in one piece.
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let io = |error: std::io::Error| failed(error.to_string());
        line.stream.write_all(request.as_bytes()).await.map_err(io)?;
        let mut answer = vec![];
        (&mut line.stream).take(MOST_BYTES + 1).read_to_end(&mut answer).await.map_err(io)?;
        Ok::<_, Error>(answer)
    });
    let answer = match asked.await {
        Ok(answer) => answer?,
        Err(_) => return Err(failed(format!("not within {PATIENCE:?}"))),
    };
    if answer.len() as u64 > MOST_BYTES {
        return Err(failed(format!("it is larger than {MOST_BYTES} bytes")));
    }
    body(&answer).map_err(failed)
}

/// Of an answer as it came.
fn body(answer: &[u8]) -> Result<Vec<u8>, String> {
    const END: &[u8] = b"\r\n\r\n";
    if answer.is_empty() {
        return Err("nothing came back".to_owned());
    }
    let end = answer.windows(END.len()).position(|bytes| bytes == END).ok_or("it does not speak HTTP")?;
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default()).into_owned();
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("it answers `{}`", crate::layout::cut(status, 60)));
    }
    Ok(answer.get(end + END.len()..).unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_good_answer_has_a_body() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\na: b\r\n\r\n{}\r\n\r\n"), Ok(b"{}\r\n\r\n".to_vec()));
        assert_eq!(body(b"HTTP/1.1 403 Forbidden\r\n\r\nno"), Err("it answers `HTTP/1.1 403 Forbidden`".to_owned()));
        assert!(body(b"").is_err() && body(b"HTTP/1.0 200 OK\r\n").is_err());
    }
}
