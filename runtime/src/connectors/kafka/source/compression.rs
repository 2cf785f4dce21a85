//! The five ways in which a batch's records are stored.

use std::io::{self, Read};

use bytes::Bytes;

use super::batch::Malformed;

/// Records of one batch, decompressed. A broker bounds batches as they are compressed, 1 MiB by default.
const MOST_BYTES: usize = 256 << 20;
/// How snappy-java begins; then come two version numbers, then blocks with their lengths before them.
const SNAPPY_FRAMED: &[u8] = b"\x82SNAPPY\0";
const SNAPPY_HEAD_BYTES: usize = 16;

/// # Errors
/// It is not what the codec writes, or larger than is ever read.
pub(super) fn decompress(codec: i16, body: Bytes) -> Result<Bytes, Malformed> {
    let decompressed = match codec {
        0 => return Ok(body),
        1 => all(flate2::read::MultiGzDecoder::new(&*body)),
        2 => snappy(&body),
        3 => all(lz4_flex::frame::FrameDecoder::new(&*body)),
        4 => zstd::stream::read::Decoder::new(&*body).and_then(all),
        other => return Err(Malformed(format!("codec {other} of a batch is not known"))),
    };
    let name = ["none", "gzip", "snappy", "lz4", "zstd"].get(codec as usize).copied().unwrap_or_default();
    decompressed.map(Bytes::from).map_err(|error| Malformed(format!("a batch is no {name}: {error}")))
}

fn all(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MOST_BYTES { Err(too_large()) } else { Ok(bytes) }
}

fn snappy(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if !body.starts_with(SNAPPY_FRAMED) {
        snappy_block(body, &mut bytes)?;
        return Ok(bytes);
    }
    let mut rest = body.get(SNAPPY_HEAD_BYTES..).unwrap_or_default();
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, behind) = behind.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        snappy_block(block, &mut bytes)?;
        rest = behind;
    }
    Ok(bytes)
}

fn snappy_block(block: &[u8], bytes: &mut Vec<u8>) -> io::Result<()> {
    let length = snap::raw::decompress_len(block)?;
    // Three bytes make 64 at most: a larger promise is a lie, and no memory is set aside for it.
    let most = MOST_BYTES.saturating_sub(bytes.len()).min(block.len().saturating_mul(64));
    if length > most {
        return Err(too_large());
    }
    let begin = bytes.len();
    bytes.resize(begin + length, 0);
    let room = bytes.get_mut(begin..).unwrap_or_default();
    snap::raw::Decoder::new().decompress(block, room)?;
    Ok(())
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it holds more than {MOST_BYTES} bytes or than it can"))
}
