//! A small client for what a run serves.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// A port that was free a moment ago.
///
/// # Errors
/// What the system says.
pub fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// Head and body of the answer.
///
/// # Errors
/// Nobody answers within seconds, or nothing that could be an answer.
pub fn get(address: SocketAddr, path: &str) -> Result<(String, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head and a body")?;
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok((head.to_owned(), if is_chunked { whole(body)? } else { body.to_owned() }))
}

/// A body that came in chunks: each has its length in hexadecimal digits before it, the last one is empty.
fn whole(mut chunks: &str) -> Result<String> {
    let mut body = String::new();
    loop {
        let (length, rest) = chunks.split_once("\r\n").context("a chunk's length")?;
        let length = usize::from_str_radix(length.trim(), 16).context("a chunk's length")?;
        if length == 0 {
            return Ok(body);
        }
        body.push_str(rest.get(..length).context("a chunk is cut off")?);
        chunks = rest.get(length..).and_then(|rest| rest.strip_prefix("\r\n")).context("a chunk has no end")?;
    }
}
