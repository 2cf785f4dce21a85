//! A zip archive in memory, by PKWARE's APPNOTE 6.3.3 as far as it is needed: DEFLATE, UTF-8 names, no ZIP64. Everything in
//! it is bounded by whoever fills it.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
/// 2.0: DEFLATE.
const VERSION: u16 = 20;
/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;
const DEFLATED: u16 = 8;
/// 1980-01-01: when is said in the archive's README.
const DATE: u16 = (1 << 5) | 1;

/// An archive that grows.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    crc: u32,
    packed: u32,
    size: u32,
    offset: u32,
}

impl Archive {
    /// Adds a file.
    ///
    /// # Errors
    /// It does not fit: 4 GiB or 65,535 files are not reached by what is bounded.
    pub(crate) fn add(&mut self, name: &str, content: &[u8]) -> std::io::Result<()> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content)?;
        let packed = encoder.finish()?;
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let entry = Entry {
            name: name.to_owned(),
            crc: crc.sum(),
            packed: small(packed.len())?,
            size: small(content.len())?,
            offset: small(self.bytes.len())?,
        };
        self.long(LOCAL);
        self.head(&entry)?;
        self.bytes.extend(entry.name.as_bytes());
        self.bytes.extend(packed);
        self.entries.push(entry);
        Ok(())
    }

    /// The whole archive.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub(crate) fn finish(mut self) -> std::io::Result<Vec<u8>> {
        let begin = small(self.bytes.len())?;
        let entries = std::mem::take(&mut self.entries);
        for entry in &entries {
            self.long(CENTRAL);
            // Made by: the same version, as MS-DOS has attributes.
            self.short(VERSION);
            self.head(entry)?;
            // Comment, disk, attributes inside and outside.
            (0..3).for_each(|_| self.short(0));
            self.long(0);
            self.long(entry.offset);
            self.bytes.extend(entry.name.as_bytes());
        }
        let size = small(self.bytes.len())?.saturating_sub(begin);
        let count = u16::try_from(entries.len()).map_err(std::io::Error::other)?;
        self.long(END);
        self.short(0);
        self.short(0);
        self.short(count);
        self.short(count);
        self.long(size);
        self.long(begin);
        self.short(0);
        Ok(self.bytes)
    }

    /// What both of an entry's headers have.
    fn head(&mut self, entry: &Entry) -> std::io::Result<()> {
        let length = u16::try_from(entry.name.len()).map_err(std::io::Error::other)?;
        for number in [VERSION, FLAGS, DEFLATED, 0, DATE] {
            self.short(number);
        }
        for number in [entry.crc, entry.packed, entry.size] {
            self.long(number);
        }
        self.short(length);
        self.short(0);
        Ok(())
    }

    fn short(&mut self, number: u16) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn long(&mut self, number: u32) {
        self.bytes.extend(number.to_le_bytes());
    }
}

fn small(size: usize) -> std::io::Result<u32> {
    u32::try_from(size).map_err(std::io::Error::other)
}
